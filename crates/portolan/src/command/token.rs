//! `portolan token create|list|revoke`: secrets to join with.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use consul::own::{Token, TokenEntry, TokenRequest};
use serde::Serialize;
use state::units::parse_duration;

use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tokens {
    /// Print a token that another node can join with; it is not shown again
    Create {
        /// Let it be used by this many nodes
        #[arg(long, default_value_t = 1)]
        uses: u32,
        /// How long it can be used
        #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = parse_duration)]
        expires: Duration,
        /// Who joins with it follows the order, and never votes on it
        #[arg(long)]
        agent: bool,
    },
    /// List tokens that can still be used, without their secrets
    List,
    /// Let nobody join with a token any more
    Revoke {
        /// Id, as `portolan token list` shows it
        id: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct Shown(TokenEntry);

impl Row for Shown {
    const COLUMNS: &'static [&'static str] = &["id", "role", "uses", "expires in"];
    fn cells(&self) -> Vec<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let left = u128::from(self.0.expires_ms).saturating_sub(now) / 1000;
        let expires = if left == 0 { "ended".to_owned() } else { format!("{left} s") };
        vec![self.0.id.to_string(), self.0.role.to_string(), self.0.uses.to_string(), expires]
    }
}

pub(crate) fn run(tokens: Tokens, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        match tokens {
            Tokens::Create { uses, expires, agent } => {
                let role = if agent { "agent" } else { "server" }.into();
                let ttl_ms = u64::try_from(expires.as_millis()).unwrap_or(u64::MAX);
                let request = TokenRequest { role, uses, ttl_ms };
                let token: Token = remote.put("/v1/portolan/token", &request).await?;
                // The answer itself, also when asked to be quiet.
                Ok(global.out().one(&token, || token.token.to_string())?)
            }
            Tokens::List => {
                let tokens = remote.get::<Vec<TokenEntry>>("/v1/portolan/tokens").await?.value;
                Ok(global.out().list(&tokens.into_iter().map(Shown).collect::<Vec<_>>())?)
            }
            Tokens::Revoke { id } => {
                remote.bounded(remote.client.delete(&format!("/v1/portolan/token/{}", encoded(&id)))).await?;
                Ok(global.out().say(&format!("revoked {id}"))?)
            }
        }
    })
}
