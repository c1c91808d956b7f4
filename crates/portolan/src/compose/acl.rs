//! A registry of one host begins to ask who is speaking, when its configuration says so.

use anyhow::Context as _;
use catalog::acl::{Links, MANAGEMENT};
use catalog::{AclCommand, AclToken, Command, Mode, Outcome, Refusal, Settings};
use store::Store;

use crate::config::Acl;

/// Makes what is configured hold. What holds already costs no command.
///
/// # Errors
/// The file with the first token's secret cannot be read; the registry takes no commands.
pub(super) async fn begin(store: &Store, config: &Acl) -> anyhow::Result<()> {
    if !config.enabled {
        return Ok(());
    }
    if let Some(secret) = initial_management(config)? {
        management(store, &secret).await.context("make the first token (`acl.initial_management_file`)")?;
    }
    if store.now().acl().default_policy() != config.default_policy {
        let command = Command::Acl(AclCommand::SetDefault(config.default_policy));
        store.submit(command).await.context("set `acl.default_policy`")?;
    }
    if store.now().mode() == Mode::Open {
        let settings = Settings { mode: Mode::Enforce, ..store.now().settings().clone() };
        store
            .submit(Command::Configure(settings))
            .await
            .context("begin to ask for tokens (`acl.enabled`)")?;
    }
    Ok(())
}

fn initial_management(config: &Acl) -> anyhow::Result<Option<String>> {
    if let Some(file) = &config.initial_management_file {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("read {} (`acl.initial_management_file`)", file.display()))?;
        let secret = text.lines().next().unwrap_or_default().trim().to_owned();
        anyhow::ensure!(
            secret.len() >= 16,
            "the first line of {} (`acl.initial_management_file`) is no secret: it needs 16 characters",
            file.display()
        );
        return Ok(Some(secret));
    }
    Ok(config.initial_management.clone().filter(|secret| !secret.is_empty()))
}

/// A token with this secret that may do everything: the registry's first, or one more.
async fn management(store: &Store, secret: &str) -> anyhow::Result<()> {
    let hash = acl::hash(secret);
    if store.now().acl().token_of_secret(hash).is_some() {
        return Ok(());
    }
    // Made of the secret's hash, so that it is the same after a registry was lost; of no use to guess it by.
    let hex = acl::content_hash(&hash.0).to_string();
    let accessor = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..32]].join("-");
    let token = AclToken {
        accessor: accessor.into(),
        secret: hash,
        description: "Initial Management Token".into(),
        links: Links { policies: vec![MANAGEMENT.into()], ..Links::default() },
        local: false,
        expires_ms: None,
        created_ms: 0,
        create_index: 0,
        modify_index: 0,
    };
    let first = AclCommand::Bootstrap { token: Box::new(token.clone()), reset: None };
    match store.propose(Command::Acl(first)).await?.outcome {
        Outcome::Refused(Refusal::Acl(_)) => {
            let more = AclCommand::PutToken { token: Box::new(token), is_new: true };
            store.submit(Command::Acl(more)).await?;
        }
        Outcome::Refused(refusal) => return Err(refusal.into()),
        _ => {}
    }
    Ok(())
}
