//! Reachability from outside: whose wishes count, who opens, and who tells how it stands.

use std::sync::Arc;

use anyhow::Context as _;
use catalog::exposure::Openings;
use expose::names::{self, Owner, Provider, Rfc2136, Several};
use expose::source::{Said, both, consul, own};
use expose::{NameSettings, Status};
use hostnet::firewall;
use state::{Reader, Report, channel};
use store::Store;

use super::faces::Shared;
use crate::config::Config;
use crate::daemon::identity::Identity;

impl Shared {
    /// Carries out what shall be reachable from outside, where the configuration says that this node does; what
    /// shows it, always.
    ///
    /// # Errors
    /// Files that are named and cannot be read.
    pub(super) fn exposure(
        &mut self,
        config: &Config,
        identity: &Identity,
    ) -> anyhow::Result<Arc<dyn api::Exposure>> {
        let wished = own::Config {
            node: identity.name.as_str().into(),
            fixed: config.expose.iter().map(expose::Wish::def).collect(),
            registrations: config.exposure.registrations,
        };
        let node: Arc<str> = identity.name.as_str().into();
        if !config.exposure.enabled {
            return Ok(Arc::new(Planned { node, wished, store: self.store.clone() }));
        }
        let names = keepers(&config.public_dns, &identity.name).context("set up public names")?;
        let sources = config.consul.iter().map(|source| source.read(&identity.name));
        let sources = sources.collect::<Result<Vec<_>, _>>().context("set up a Consul source")?;

        let (said, own_said) = channel(Said::default());
        self.tasks.spawn("wishes", own::run(wished, self.store.reader(), said, self.drain.clone()));
        let mut all = vec![own_said];
        for source in sources {
            let (said, heard) = channel(Said::default());
            self.tasks.spawn("consul", consul::run(source, said, self.drain.clone()));
            all.push(heard);
        }
        let (said, together) = channel(Said::default());
        self.tasks.spawn("sources", both::run(all, said, self.drain.clone()));

        let (openings, doors) = channel(Openings::default());
        let (reports, reported) = channel(Report::default());
        self.tasks.spawn("firewall", firewall::run(config.firewall.clone(), doors, reports));
        let (status, shown) = channel(Status::default());
        let metrics = expose::Metrics::default();
        metrics.register(self.counted());
        let inputs = expose::Inputs { said: together, openings, firewall: reported, status, names, metrics };
        self.tasks.spawn("expose", expose::run(config.exposure.config(), inputs, self.drain.clone()));
        Ok(Arc::new(Carried { node, shown }))
    }
}

fn keepers(settings: &[NameSettings], node: &str) -> anyhow::Result<Option<Arc<dyn Provider>>> {
    let mut several = Several::default();
    for one in settings {
        let NameSettings::Rfc2136(one) = one;
        let owner = Owner::new(one.owner.as_deref().unwrap_or(node))?;
        let config = names::Config { server: one.server, zones: one.zones.clone(), owner, ttl: one.ttl };
        let keeper = Rfc2136::new(&config, names::read_key(&one.key_file)?)?;
        several = several.with(&one.zones, Arc::new(keeper));
    }
    Ok((!several.is_empty()).then(|| Arc::new(several) as Arc<dyn Provider>))
}

/// A node that carries wishes out.
struct Carried {
    node: Arc<str>,
    shown: Reader<Status>,
}

impl api::Exposure for Carried {
    fn exposures(&self) -> ::consul::exposure::Exposures {
        self.shown.now().shown(&self.node, true)
    }
}

/// A node that only tells what it would do.
struct Planned {
    node: Arc<str>,
    wished: own::Config,
    store: Store,
}

impl api::Exposure for Planned {
    fn exposures(&self) -> ::consul::exposure::Exposures {
        let addresses = sys::host::addresses().unwrap_or_default();
        let wishes = own::wishes(&self.wished, &self.store.now(), &addresses);
        Status::planned(&wishes).shown(&self.node, false)
    }
}
