//! A TCP connection that comes about passes.

use super::address::Reach;
use super::chain;
use crate::verdict::Finding;

pub(super) async fn run(reach: &Reach, address: &str) -> Finding {
    match reach.connect(address).await {
        Ok(_) => Finding::passing(format!("connect to {address}: it accepts")),
        Err(cause) => Finding::critical(chain(&cause)),
    }
}
