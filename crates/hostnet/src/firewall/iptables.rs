//! A chain of ours in the filter table of iptables or ip6tables, with one jump at the head of INPUT.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Instant;

use catalog::exposure::Openings;

use super::comment;
use super::tool::{self, ToolError};

/// `iptables` or `ip6tables`, as found; both builds (legacy and nft) work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Family {
    pub(super) iptables: PathBuf,
    pub(super) restore: PathBuf,
}

/// Wait for whoever holds the lock of the legacy tables.
const WAIT: [&str; 2] = ["-w", "5"];

/// Replaces the chain unless it is as wanted, and puts the jump back if it is gone: one transaction.
pub(super) async fn apply(family: &Family, chain: &str, wanted: &Openings) -> Result<(), ToolError> {
    let there = Standing::read(family, chain).await?;
    if there.jumps == 1 && there.rules.as_deref() == Some(&rules(chain, wanted)) {
        return Ok(());
    }
    let mut text = format!("*filter\n:{chain} - [0:0]\n");
    for rule in rules(chain, wanted) {
        let _ = writeln!(text, "{rule}");
    }
    if there.jumps != 1 {
        let more = format!("-D INPUT -j {chain}\n").repeat(there.jumps);
        let _ = writeln!(text, "{more}-I INPUT 1 -j {chain}");
    }
    text.push_str("COMMIT\n");
    let begun = Instant::now();
    tool::run(&family.restore, &["-w", "5", "--noflush"], &text).await?;
    let (program, took_ms) = (family.iptables.display(), begun.elapsed().as_millis());
    tracing::info!(%program, chain, ports = wanted.ports.len(), took_ms, "replaced our firewall rules");
    Ok(())
}

/// Removes jumps and chain; nothing when they are not there.
pub(super) async fn remove(family: &Family, chain: &str) -> Result<(), ToolError> {
    let there = Standing::read(family, chain).await?;
    if there.rules.is_none() {
        return Ok(());
    }
    let jumps = format!("-D INPUT -j {chain}\n").repeat(there.jumps);
    // Naming the chain empties it, which a chain must be before it can go.
    let text = format!("*filter\n:{chain} - [0:0]\n{jumps}-X {chain}\nCOMMIT\n");
    tool::run(&family.restore, &["-w", "5", "--noflush"], &text).await.map(drop)
}

/// True when somebody's rules may keep out what comes in, or our chain is there.
pub(super) async fn is_in_use(family: &Family, chain: &str) -> bool {
    let listing = list(family).await;
    listing.is_ok_and(|listing| may_refuse(&listing, chain) || Standing::of(&listing, chain).rules.is_some())
}

/// What of ours there is.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    /// Rules of the chain as `iptables -S` writes them; `None` when there is no such chain.
    rules: Option<Vec<String>>,
    /// Jumps from INPUT to it.
    jumps: usize,
}

impl Standing {
    /// From the whole table, which lists itself whatever is in it: so a failure says that nobody could ask, and not that
    /// nothing is there.
    async fn read(family: &Family, chain: &str) -> Result<Standing, ToolError> {
        Ok(Standing::of(&list(family).await?, chain))
    }

    fn of(listing: &str, chain: &str) -> Standing {
        let (head, jump, begin) =
            (format!("-N {chain}"), format!("-A INPUT -j {chain}"), format!("-A {chain} "));
        let rules = listing.lines().filter(|line| line.starts_with(&begin)).map(|line| line.replace('"', ""));
        Standing {
            rules: listing.lines().any(|line| line == head).then(|| rules.collect()),
            jumps: listing.lines().filter(|line| *line == jump).count(),
        }
    }
}

async fn list(family: &Family) -> Result<String, ToolError> {
    tool::run(&family.iptables, &[WAIT[0], WAIT[1], "-S"], "").await
}

/// Reads `iptables -S`: whether a packet may be lost in it, whatever our chain says.
fn may_refuse(listing: &str, chain: &str) -> bool {
    const HARMLESS: [&str; 6] = ["ACCEPT", "RETURN", "LOG", "NFLOG", "MARK", "CONNMARK"];
    listing.lines().any(|line| match line.strip_prefix("-P INPUT ") {
        Some(policy) => policy.split_whitespace().next() != Some("ACCEPT"),
        None if !line.starts_with("-A INPUT ") => false,
        None => {
            let mut words = line.split_whitespace().skip_while(|word| !["-j", "-g"].contains(word));
            words.nth(1).is_some_and(|target| target != chain && !HARMLESS.contains(&target))
        }
    })
}

/// In the form in which they are listed again.
fn rules(chain: &str, wanted: &Openings) -> Vec<String> {
    let rule = |(port, service): (&catalog::exposure::Port, &std::sync::Arc<str>)| {
        let (protocol, number, service) = (port.protocol, port.number, comment(service));
        format!(
            "-A {chain} -p {protocol} -m {protocol} --dport {number} -m comment --comment {service} -j ACCEPT"
        )
    };
    wanted.ports.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ours_is_read_from_the_whole_table() {
        let listing = "-P INPUT ACCEPT\n-N OURS\n-N OURSELVES\n-A INPUT -j OURS\n-A INPUT -p tcp -j OURS\n-A INPUT -j OURS\n\
                       -A OURS -p tcp -m tcp --dport 80 -m comment --comment \"web\" -j ACCEPT\n-A OURSELVES -j DROP\n";
        let rule = "-A OURS -p tcp -m tcp --dport 80 -m comment --comment web -j ACCEPT".to_owned();
        assert_eq!(Standing::of(listing, "OURS"), Standing { rules: Some(vec![rule]), jumps: 2 });
        assert_eq!(
            Standing::of("-P INPUT ACCEPT\n-N OURSELVES\n", "OURS"),
            Standing { rules: None, jumps: 0 }
        );
    }

    #[test]
    fn a_chain_that_refuses_nobody_is_known() {
        for (listing, refuses) in [
            ("-P INPUT ACCEPT\n", false),
            ("-P INPUT DROP\n", true),
            ("-P INPUT ACCEPT -c 10 20\n-A INPUT -i lo -j ACCEPT\n-A INPUT -j OURS\n", false),
            ("-P INPUT ACCEPT\n-A INPUT -p tcp -m tcp --dport 25 -j REJECT --reject-with tcp-reset\n", true),
            ("-P INPUT ACCEPT\n-A INPUT -g ufw-before-input\n", true),
            ("-P INPUT ACCEPT\n-A INPUT -m comment --comment DROP -j LOG --log-prefix \"-j DROP\"\n", false),
            ("-P INPUT ACCEPT\n-P FORWARD DROP\n-N OTHER\n-A OTHER -j DROP\n", false),
            ("", false),
        ] {
            assert_eq!(may_refuse(listing, "OURS"), refuses, "{listing}");
        }
    }
}
