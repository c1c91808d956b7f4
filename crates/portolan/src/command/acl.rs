//! `portolan acl …`: tokens, policies and what holds without them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use consul::acl::{Link, Policy, PolicyStub, SignedDuration, Token};
use serde::Serialize;
use serde_json::Value;
use state::units::parse_duration;

use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::{Remote, encoded};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Acl {
    /// Print the first token that may do everything; it is made once, and is not shown again
    Bootstrap,
    /// Tokens
    #[command(subcommand)]
    Token(Tokens),
    /// Policies: rules under a name
    #[command(subcommand)]
    Policy(Policies),
    /// Say what holds where no rule says anything: allow, read or deny
    Default {
        /// `allow`, `read` or `deny`
        policy: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Tokens {
    /// Print a new token's secret; it is not shown again
    Create {
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
        /// Name of a policy that it has; may be given several times
        #[arg(long, value_name = "NAME")]
        policy: Vec<String>,
        /// Name of a role that it has; may be given several times
        #[arg(long, value_name = "NAME")]
        role: Vec<String>,
        /// How long it is good, a minute to a day; for ever when not given
        #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
        expires: Option<Duration>,
    },
    /// List tokens, without their secrets
    List,
    /// Let nobody use a token any more
    Delete {
        /// Accessor, as `portolan acl token list` shows it
        accessor: String,
    },
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Policies {
    /// Make a policy of the rules in a file, or change the one that there is
    Put {
        /// Its name
        name: String,
        /// File with rules in HCL or JSON; `-` reads standard input
        file: PathBuf,
        /// What it is for
        #[arg(long, default_value = "")]
        description: String,
    },
    /// List policies
    List,
    /// Print a policy's rules
    Show {
        /// Its name
        name: String,
    },
    /// Take a policy away, also from whoever has it
    Delete {
        /// Its name
        name: String,
    },
}

#[derive(Serialize)]
#[serde(transparent)]
struct ShownToken(Token);

impl Row for ShownToken {
    const COLUMNS: &'static [&'static str] = &["accessor", "description", "has", "expires"];
    fn cells(&self) -> Vec<String> {
        let token = &self.0;
        let links = token.policies.iter().chain(&token.roles).map(|link| link.name.to_string());
        let services = token.service_identities.iter().map(|one| format!("service:{}", one.service_name));
        let nodes = token.node_identities.iter().map(|one| format!("node:{}", one.node_name));
        let has: Vec<_> = links.chain(services).chain(nodes).collect();
        let expires = match token.expiration_time.is_empty() {
            true => "never".to_owned(),
            false => token.expiration_time.to_string(),
        };
        vec![token.accessor_id.to_string(), token.description.to_string(), has.join(" "), expires]
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct ShownPolicy(PolicyStub);

impl Row for ShownPolicy {
    const COLUMNS: &'static [&'static str] = &["name", "description", "id"];
    fn cells(&self) -> Vec<String> {
        vec![self.0.name.to_string(), self.0.description.to_string(), self.0.id.to_string()]
    }
}

pub(crate) fn run(acl: Acl, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(async move {
        match acl {
            Acl::Bootstrap => {
                let token: Token = remote.put("/v1/acl/bootstrap", &Value::Null).await?;
                // The answer itself, also when asked to be quiet.
                Ok(global.out().one(&token, || token.secret_id.to_string())?)
            }
            Acl::Token(tokens) => of_tokens(tokens, &remote, global).await,
            Acl::Policy(policies) => of_policies(policies, &remote, global).await,
            Acl::Default { policy } => {
                let path = format!("/v1/portolan/acl/default/{}", encoded(&policy));
                let _: Value = remote.put(&path, &Value::Null).await?;
                Ok(global.out().say(&format!("{policy} holds where no rule says anything"))?)
            }
        }
    })
}

async fn of_tokens(tokens: Tokens, remote: &Remote, global: &Global) -> Result {
    match tokens {
        Tokens::Create { description, policy, role, expires } => {
            let links = |names: Vec<String>| {
                names.into_iter().map(|name| Link { id: "".into(), name: name.into() }).collect()
            };
            let request = Token {
                description: description.into(),
                policies: links(policy),
                roles: links(role),
                expiration_ttl: expires
                    .map(|life| SignedDuration::Text(format!("{}ms", life.as_millis()).into())),
                ..Token::default()
            };
            let token: Token = remote.put("/v1/acl/token", &request).await?;
            Ok(global.out().one(&token, || token.secret_id.to_string())?)
        }
        Tokens::List => {
            let tokens = remote.get::<Vec<Token>>("/v1/acl/tokens").await?.value;
            Ok(global.out().list(&tokens.into_iter().map(ShownToken).collect::<Vec<_>>())?)
        }
        Tokens::Delete { accessor } => {
            remote.bounded(remote.client.delete(&format!("/v1/acl/token/{}", encoded(&accessor)))).await?;
            Ok(global.out().say(&format!("deleted {accessor}"))?)
        }
    }
}

async fn of_policies(policies: Policies, remote: &Remote, global: &Global) -> Result {
    match policies {
        Policies::Put { name, file, description } => {
            let rules = read(&file)?.into();
            let policy = Policy {
                name: name.as_str().into(),
                description: description.into(),
                rules,
                ..Policy::default()
            };
            let known = remote.get::<Vec<PolicyStub>>("/v1/acl/policies").await?.value;
            let path = match known.iter().find(|known| *known.name == *name) {
                Some(known) => format!("/v1/acl/policy/{}", known.id),
                None => "/v1/acl/policy".to_owned(),
            };
            let made: Policy = remote.put(&path, &policy).await?;
            Ok(global.out().one(&made, || format!("policy {name} holds"))?)
        }
        Policies::List => {
            let policies = remote.get::<Vec<PolicyStub>>("/v1/acl/policies").await?.value;
            Ok(global.out().list(&policies.into_iter().map(ShownPolicy).collect::<Vec<_>>())?)
        }
        Policies::Show { name } => {
            let policy = named(remote, &name).await?;
            Ok(global.out().one(&policy, || policy.rules.trim_end().to_owned())?)
        }
        Policies::Delete { name } => {
            let id = named(remote, &name).await?.id;
            remote.bounded(remote.client.delete(&format!("/v1/acl/policy/{id}"))).await?;
            Ok(global.out().say(&format!("deleted {name}"))?)
        }
    }
}

async fn named(remote: &Remote, name: &str) -> Result<Policy> {
    Ok(remote.get::<Policy>(&format!("/v1/acl/policy/name/{}", encoded(name))).await?.value)
}

fn read(file: &Path) -> Result<String> {
    let mut text = String::new();
    let read = match file == Path::new("-") {
        true => std::io::stdin().read_to_string(&mut text).map(drop).context("read standard input"),
        false => std::fs::read_to_string(file)
            .map(|read| text = read)
            .with_context(|| format!("read {}", file.display())),
    };
    read?;
    Ok(text)
}
