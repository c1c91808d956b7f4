//! `portolan redirect`: names that lead elsewhere.

use consul::rules::{Redirect, Rules, Share};
use serde::Serialize;

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};
use crate::output::Row;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name that is to lead elsewhere; without one, redirections are listed
    name: Option<String>,
    /// Where it leads: a service's name or a URI, with =WEIGHT for its share where there are several. The name
    /// itself keeps its share
    #[arg(value_parser = share, conflicts_with = "remove")]
    to: Vec<Share>,
    /// Let the name lead to itself again
    #[arg(long, requires = "name")]
    remove: bool,
    /// Why, for people
    #[arg(long, default_value = "")]
    note: String,
}

/// `web-v2` or `web-v2=10`. A URI's own `=` stands before something that is no number.
fn share(text: &str) -> std::result::Result<Share, String> {
    let weighted = text.rsplit_once('=').and_then(|(to, weight)| Some((to, weight.parse::<u16>().ok()?)));
    match weighted {
        Some((_, 0)) => Err("a weight is a number from 1".into()),
        Some((to, weight)) => Ok(Share { to: to.into(), weight }),
        None => Ok(Share { to: text.into(), weight: 1 }),
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(Redirect);

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &["name", "leads to", "note"];
    fn cells(&self) -> Vec<String> {
        let several = self.0.to.len() > 1;
        let shown = |share: &Share| match several {
            true => format!("{}={}", share.to, share.weight),
            false => share.to.to_string(),
        };
        let to: Vec<_> = self.0.to.iter().map(shown).collect();
        vec![self.0.name.to_string(), to.join(" "), self.0.note.to_string()]
    }
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        let Some(name) = args.name else {
            let rules = remote.get::<Rules>("/v1/portolan/rules").await?.value;
            return Ok(global.out().list(&rules.redirections.into_iter().map(Shown).collect::<Vec<_>>())?);
        };
        let path = format!("/v1/portolan/redirect/{}", encoded(&name));
        if args.remove {
            remote.bounded(remote.client.delete(&path)).await?;
            return Ok(global.out().say(&format!("{name} leads to itself again"))?);
        }
        if args.to.is_empty() {
            let cause = anyhow::anyhow!("say where \"{name}\" is to lead, or --remove");
            return Err(Failure::new(Exit::Usage, cause));
        }
        let redirect = Redirect { to: args.to, note: args.note.into(), ..Redirect::default() };
        remote.put::<bool>(&path, &redirect).await?;
        let to: Vec<_> = redirect.to.iter().map(|share| share.to.to_string()).collect();
        Ok(global.out().say(&format!("{name} leads to {}", to.join(", ")))?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stand_behind() {
        let read = |text: &str| share(text).map(|share| (share.to.to_string(), share.weight));
        assert_eq!(read("web"), Ok(("web".into(), 1)));
        assert_eq!(read("web-v2=10"), Ok(("web-v2".into(), 10)));
        assert_eq!(read("tcp://h:80/a?b=c=3"), Ok(("tcp://h:80/a?b=c".into(), 3)));
        assert_eq!(read("ws://h/a?b=c"), Ok(("ws://h/a?b=c".into(), 1)));
        assert!(read("web=0").is_err());
    }
}
