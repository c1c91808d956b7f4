//! The verdict on what stands between this host and the world, kept fresh.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::nat::{Observed, Verdict, judge};
use crate::stun;

/// Servers outside are asked again this often although nothing changed.
const AGAIN: Duration = Duration::from_secs(600);

/// Who is asked, and what came of it.
pub(crate) struct Outlook {
    servers: Vec<String>,
    asked: Option<(Instant, Option<IpAddr>, Option<IpAddr>)>,
    seen: Vec<IpAddr>,
    verdict: Option<Verdict>,
}

impl Outlook {
    pub(crate) fn new(servers: Vec<String>) -> Outlook {
        Outlook { servers, asked: None, seen: Vec::new(), verdict: None }
    }

    /// True when somebody outside is asked.
    pub(crate) fn asks(&self) -> bool {
        !self.servers.is_empty()
    }

    pub(crate) fn verdict(&self) -> Option<&Verdict> {
        self.verdict.as_ref()
    }

    /// Judges anew when an address has changed, or with `renew` after a while.
    pub(crate) async fn look(
        &mut self,
        own: Option<IpAddr>,
        router: Option<IpAddr>,
        renew: bool,
    ) -> Option<&Verdict> {
        let from = own?;
        let is_fresh = self
            .asked
            .is_some_and(|(at, was, told)| (was, told) == (own, router) && !(renew && at.elapsed() >= AGAIN));
        if !is_fresh {
            let answers = stun::ask(from, &self.servers).await;
            for answer in &answers {
                if let Err(why) = &answer.address {
                    tracing::warn!(server = answer.server, why, "a STUN server does not tell what it sees");
                }
            }
            let seen: BTreeSet<IpAddr> =
                answers.into_iter().filter_map(|one| Some(one.address.ok()?.ip())).collect();
            self.seen = seen.into_iter().collect();
            self.asked = Some((Instant::now(), own, router));
            let verdict = judge(&Observed { own, router, seen: self.seen.clone() });
            if self.verdict.as_ref() != Some(&verdict) {
                tracing::info!(%verdict, "what stands between this host and the world");
            }
            self.verdict = Some(verdict);
        }
        self.verdict.as_ref()
    }
}
