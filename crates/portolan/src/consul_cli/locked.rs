//! `consul lock PREFIX CHILD…`: runs a program while a lock is held, and ends it when the lock is lost.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use consul::kv::KvPair;
use tokio::process::Command;

use super::ask::session;
use super::talk;
use crate::exit::{Exit, Failure, Result};
use crate::remote::{Remote, encoded};

/// Term of the session, and how often it is renewed.
const TERM: &str = "15s";
const RENEW: Duration = Duration::from_secs(5);
/// Value in the `Flags` of keys that are locks of one holder, by which Consul's clients know each other's.
const LOCK_FLAGS: u64 = 0x2dda_be79_5ff3_b68f;

pub(super) fn run(arguments: &[&str]) -> Result<ExitCode> {
    let values = ["monitor-retry", "n", "name", "timeout"];
    let (flags, remote) =
        talk(arguments, &values, &["child-exit-code", "pass-stdin", "shell", "try", "verbose"])?;
    let usage = |why: &str| Failure::new(Exit::Usage, anyhow!("{why}"));
    if flags.last("n").is_some_and(|limit| limit != "1") {
        return Err(usage("locks of more than one holder (-n) are not here"));
    }
    let [prefix, child @ ..] = &flags.rest[..] else { return Err(usage("name a key prefix and a program")) };
    if child.is_empty() {
        return Err(usage("name a program to run while the lock is held"));
    }
    let (key, child) = (format!("{}/.lock", prefix.trim_matches('/')), child.join(" "));
    let name =
        flags.last("name").map_or_else(|| format!("Consul lock for '{child}' at '{prefix}'"), str::to_owned);
    let limit = flags.last("timeout").map(state::units::parse_duration).transpose();
    let limit = limit.map_err(|cause| Failure::new(Exit::Usage, cause))?;
    let passes_code = flags.is_on("child-exit-code");
    let mut code = ExitCode::SUCCESS;
    crate::command::block_on(async {
        let id = session(&remote, &name, TERM).await?;
        let held = hold(&remote, &key, &id, &child, limit).await;
        // The lock goes with its session, whatever happened.
        let ended = remote.send(&format!("/v1/session/destroy/{id}"), Vec::new()).await;
        let status = held?;
        ended?;
        if !status.success() {
            match (passes_code, status.code().and_then(|code| u8::try_from(code).ok())) {
                (true, Some(number)) => code = ExitCode::from(number),
                _ => return Err(Failure::new(Exit::Failure, anyhow!("`{child}` ended with {status}"))),
            }
        }
        Ok(())
    })?;
    Ok(code)
}

async fn hold(
    remote: &Remote,
    key: &str,
    id: &str,
    child: &str,
    limit: Option<Duration>,
) -> Result<std::process::ExitStatus> {
    let acquired = acquire(remote, key, id);
    match limit {
        Some(limit) => tokio::time::timeout(limit, acquired)
            .await
            .map_err(|_| Failure::new(Exit::Failure, anyhow!("lock {key}: not within {limit:?}")))??,
        None => acquired.await?,
    }
    let mut running = Command::new("sh")
        .args(["-c", child])
        .env("CONSUL_LOCK_HELD", "true")
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("run `{child}`"))?;
    loop {
        tokio::select! {
            ended = running.wait() => return Ok(ended.with_context(|| format!("wait for `{child}`"))?),
            () = tokio::time::sleep(RENEW) => {
                let renewed = remote.send(&format!("/v1/session/renew/{id}"), Vec::new()).await;
                if renewed.is_err_and(|failure| failure.exit == Exit::NotFound) {
                    let _ = running.kill().await;
                    return Err(Failure::new(Exit::Failure, anyhow!("lost the lock {key}: its session ended")));
                }
            }
        }
    }
}

/// Waits until the key is locked for us, and keeps the session meanwhile.
async fn acquire(remote: &Remote, key: &str, id: &str) -> Result {
    loop {
        let path = format!("/v1/kv/{}?acquire={id}&flags={LOCK_FLAGS}", encoded(key));
        if remote.send(&path, Vec::new()).await?.trim_ascii() == b"true" {
            return Ok(());
        }
        remote.send(&format!("/v1/session/renew/{id}"), Vec::new()).await?;
        let path = format!("/v1/kv/{}", encoded(key));
        match remote.get::<Vec<KvPair>>(&path).await {
            Ok(found) if found.value.iter().any(|pair| !pair.session.is_empty()) => {
                let wait = remote.get_after::<Vec<KvPair>>(&path, found.index);
                // Whatever woke us, the lock is tried again.
                let _ = tokio::time::timeout(RENEW, wait).await;
            }
            // Free, but within the delay after its last holder.
            _ => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}
