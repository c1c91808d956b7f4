//! `agent/reload`, `agent/leave`.

use http::StatusCode;

use crate::Api;
use crate::http::{Answer, Failure, Parts};

pub(crate) fn reload(api: &Api, _: &Parts) -> Result<Answer, Failure> {
    let reloaded = api.control.reload();
    reloaded.map_err(|why| Failure::new(StatusCode::INTERNAL_SERVER_ERROR, format!("reload: {why}")))?;
    Ok(Answer::empty())
}

pub(crate) fn leave(api: &Api, _: &Parts) -> Result<Answer, Failure> {
    api.control.leave();
    Ok(Answer::empty())
}
