//! Virtual addresses by one listener: who has the kernel lead them there.

use std::sync::Arc;

use anyhow::Context as _;
use hostnet::transparent::{self, Led};
use state::{Reader, channel};

use super::faces::Shared;
use crate::config::Config;
use crate::daemon::guard::Leader;

impl Shared {
    /// Has virtual addresses led to the transparent listener, where there is one. Which ranges are.
    ///
    /// # Errors
    /// A process that cannot be spoken to.
    pub(super) fn leading(
        &mut self,
        config: &Config,
        leader: Option<Arc<Leader>>,
    ) -> anyhow::Result<Reader<Led>> {
        let (led, leads) = channel(Led::default());
        let Some(leader) = leader else { return Ok(leads) };
        let stream = leader.way().context("speak to the process that leads virtual addresses")?;
        let (port, six) = leader.ports();
        let settings = transparent::Settings {
            port,
            six: config.hostnet.range_v6.zip(six),
            from: config.hostnet.reachable_from.clone(),
        };
        let (views, drain) = (self.store.reader(), self.drain.clone());
        self.tasks.spawn("leading", async move {
            transparent::run(stream, settings, views, led, drain).await;
            // It ends with the daemon, and not with whoever else holds it.
            drop(leader);
        });
        Ok(leads)
    }
}
