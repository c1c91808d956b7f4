//! Reachability from outside: whose wishes count, who opens, and who tells how it stands.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use catalog::NodeDef;
use catalog::exposure::{Front, Indoors, Openings, Port, Protocol};
use expose::acme::{self, Certified};
use expose::names::{self, Exec, Http, HttpConfig, Owner, Provider, Rfc2136, Several};
use expose::router::BoxFuture;
use expose::source::{Said, both, consul, household, own};
use expose::{HttpSettings, NameSettings, OpenDoors, Rfc2136Settings, Status};
use hostnet::firewall;
use rustix::io::Errno;
use state::{Publisher, Reader, Report, channel};
use store::Store;

use super::faces::Shared;
use crate::config::Config;
use crate::daemon::guard::Guard;
use crate::daemon::home::Home;
use crate::daemon::identity::Identity;
use crate::listeners::Addresses;
use crate::many::face::Linked;
use crate::many::lookout::FromElsewhere;

use super::consent::Desk;

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
        guard: Option<Arc<Guard>>,
        lookout: Option<Arc<dyn expose::Lookout>>,
    ) -> anyhow::Result<Arc<dyn api::Exposure>> {
        let wished = own::Config {
            node: identity.name.as_str().into(),
            fixed: config.expose.iter().map(expose::Wish::def).collect(),
            registrations: config.exposure.registrations,
            front: self.outdoors.ports,
            site: config.exposure.site.as_ref().map(expose::Site::name),
        };
        let node: Arc<str> = identity.name.as_str().into();
        let names = keepers(&config.public_dns, &identity.name).context("set up public names")?;
        let (journal, opener) = (self.outdoors.journal.take(), self.outdoors.doors.take());
        let indoors = self.outdoors.indoors.clone();
        let (trusted, listening) =
            (self.outdoors.trusted.take(), std::mem::take(&mut self.outdoors.listening));
        let https = self.https(config, names.clone());
        if !config.exposure.enabled {
            let is_alone = config.consul.is_empty();
            return Ok(Arc::new(Planned { node, wished, store: self.store.clone(), is_alone }));
        }
        let sources = config.consul.iter().map(|source| source.read(&identity.name));
        let sources = sources.collect::<Result<Vec<_>, _>>().context("set up a Consul source")?;

        let together = self.wishes(wished, sources);
        let (openings, doors) = channel(Openings::default());
        let (reports, reported) = channel(Report::default());
        let mut firewall = config.firewall.clone();
        let unguarded = unguarded(&mut firewall, guard.is_some());
        let desk = Desk::open(&firewall, trusted, reported.clone());
        let inputs = firewall::Inputs { openings: doors, consent: desk.consent(), listening, reports };
        self.tasks.spawn("firewall", async move {
            match guard {
                Some(guard) => guard.run(firewall, inputs).await,
                None => firewall::run(firewall, inputs).await,
            }
        });
        let (status, shown) = channel(Status::default());
        let metrics = expose::Metrics::default();
        metrics.register(self.counted());
        let firewall = reported;
        let inputs = expose::Inputs {
            said: together,
            openings,
            firewall,
            status,
            indoors,
            names,
            https,
            doors: opener,
            lookout,
            metrics,
        };
        let carried = expose::Config { unguarded, journal, ..config.exposure.config() };
        self.tasks.spawn("expose", expose::run(carried, inputs, self.drain.clone()));
        Ok(Arc::new(Carried { node, shown, desk }))
    }

    /// What is wished here, and by whoever is asked beside it.
    fn wishes(&mut self, wished: own::Config, sources: Vec<consul::Config>) -> Reader<Said> {
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
        together
    }

    /// Nodes of other homes, where this one says which is its own.
    pub(super) fn lookout(
        &self,
        config: &Config,
        linked: Option<&Linked>,
    ) -> Option<Arc<dyn expose::Lookout>> {
        let mesh = linked?.mesh.clone();
        let site = config.exposure.site.as_ref().map(expose::Site::name)?;
        Some(Arc::new(FromElsewhere { mesh, store: self.store.clone(), site }))
    }

    /// Certificates for what is served to the world by HTTPS.
    fn https(&mut self, config: &Config, names: Option<Arc<dyn Provider>>) -> expose::Https {
        let Outdoors { front, proofs, folder, .. } = std::mem::take(&mut self.outdoors);
        let (certify, wanted) = channel(BTreeSet::new());
        let (told, certified) = channel(Certified::default());
        let certificates = acme::Inputs {
            wanted,
            proofs,
            names,
            certificates: self.certificates.clone(),
            folder,
            certified: told,
        };
        if config.exposure.enabled || !config.acme.names.is_empty() {
            // Read here too, so that nothing is obtained for a name that a file has a certificate for. The proxy
            // says what is wrong with them.
            self.certificates.use_files(&config.proxy.tls.certificates);
            self.tasks.spawn("acme", acme::run(config.acme.clone(), certificates, self.drain.clone()));
        }
        expose::Https { front, certify, certified }
    }
}

/// The way from whoever decides what the world sees to the proxy that shows it.
pub(super) struct Outdoors {
    ports: Option<own::FrontPorts>,
    front: Publisher<Front>,
    proofs: Publisher<acme::Proofs>,
    /// What clients inside this home are answered.
    indoors: Arc<Publisher<Indoors>>,
    folder: Option<PathBuf>,
    /// Where it writes down which public names it shows.
    journal: Option<PathBuf>,
    /// Where it writes down which firewall of its own was confirmed.
    trusted: Option<PathBuf>,
    /// Ports beyond loopback that are not there for the world, and that others must reach.
    listening: Vec<Port>,
    /// The proxy's listeners that come and go.
    doors: Option<Arc<dyn OpenDoors>>,
}

impl Default for Outdoors {
    fn default() -> Outdoors {
        let (front, proofs) = (channel(Front::default()).0, channel(acme::Proofs::new()).0);
        Outdoors {
            ports: None,
            front,
            proofs,
            indoors: Arc::new(channel(Indoors::default()).0),
            folder: None,
            journal: None,
            trusted: None,
            listening: Vec::new(),
            doors: None,
        }
    }
}

impl Outdoors {
    /// Where this node meets the world, and where it keeps what shows who it is.
    pub(super) fn new(addresses: &Addresses, home: Option<&Home>) -> Outdoors {
        // The one that the world dials, where there is such: clients inside need no other way then.
        let port = |list: &[SocketAddr], outside: u16| {
            let same = list.iter().find(|at| at.port() == outside && !at.ip().is_loopback());
            same.or_else(|| list.first()).map(SocketAddr::port)
        };
        let http = port(&addresses.public_http, 80);
        let ports = port(&addresses.public_tls, 443).map(|https| own::FrontPorts { https, http });
        let folder = home.map(|home| home.dir().join("certificates"));
        let journal = home.map(|home| home.dir().join("public-names"));
        let trusted = home.map(|home| home.dir().join("firewall-confirmed"));
        Outdoors { ports, folder, journal, trusted, listening: listening(addresses), ..Outdoors::default() }
    }

    /// What other nodes of the same home must know of this one.
    pub(super) fn introduce(&self, config: &Config, itself: NodeDef) -> NodeDef {
        let Some(site) = config.exposure.site.as_ref().filter(|_| config.exposure.enabled) else {
            return itself;
        };
        let front = self.ports.map(|front| (household::FRONT.into(), front.https.to_string().into()));
        let inside: Vec<String> = config.exposure.inside.iter().map(|port| port.0.to_string()).collect();
        let inside = (!inside.is_empty()).then(|| (household::INSIDE.into(), inside.join(",").into()));
        let known = itself.meta.iter().map(|(name, value)| (name.clone(), value.clone()));
        let meta = known.chain([(household::SITE.into(), site.name())]).chain(front).chain(inside).collect();
        NodeDef { meta, ..itself }
    }

    /// For whoever answers names.
    pub(super) fn indoors(&self) -> Reader<Indoors> {
        self.indoors.reader()
    }

    /// Listeners that come and go are the proxy's.
    pub(super) fn open_by(&mut self, listeners: proxy::VirtualListeners) {
        self.doors = Some(Arc::new(ProxyDoors(listeners)));
    }

    /// For the proxy.
    pub(super) fn shown(&self) -> proxy::Shown {
        proxy::Shown { front: self.front.reader(), proofs: self.proofs.reader() }
    }
}

/// Ports of this daemon that other hosts have business with. What it shows to the world is opened when somebody wishes it.
fn listening(addresses: &Addresses) -> Vec<Port> {
    let world = ["HTTPS for the world", "HTTP for the world"];
    let all = addresses.iter().filter(|(what, at)| !at.ip().is_loopback() && !world.contains(what));
    let both = all.flat_map(|(what, at)| {
        let has_udp = ["DNS", "mesh", "service"].contains(&what);
        let udp = has_udp.then_some(Port { protocol: Protocol::Udp, number: at.port() });
        udp.into_iter().chain([Port { protocol: Protocol::Tcp, number: at.port() }])
    });
    both.collect()
}

/// The proxy opens ports that lead to other nodes.
struct ProxyDoors(proxy::VirtualListeners);

/// The firewall lets in by both families.
fn everywhere(port: Port) -> [SocketAddr; 2] {
    [(Ipv4Addr::UNSPECIFIED, port.number).into(), (Ipv6Addr::UNSPECIFIED, port.number).into()]
}

/// What a kernel without IPv6 says.
fn has_no_family(cause: &io::Error) -> bool {
    let said = cause.raw_os_error();
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL].iter().any(|errno| said == Some(errno.raw_os_error()))
}

impl OpenDoors for ProxyDoors {
    fn open(&self, port: Port, service: Arc<str>) -> BoxFuture<'_, io::Result<()>> {
        let is_tcp = port.protocol == Protocol::Tcp;
        let transports = proxy::Transports { tcp: is_tcp, udp: !is_tcp };
        let [v4, v6] = everywhere(port);
        Box::pin(async move {
            self.0.open(v4, service.clone(), transports).await?;
            match self.0.open(v6, service, transports).await {
                Err(cause) if !has_no_family(&cause) => {
                    self.0.close(v4).await;
                    Err(cause)
                }
                _ => Ok(()),
            }
        })
    }

    fn close(&self, port: Port) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            for address in everywhere(port) {
                self.0.close(address).await;
            }
        })
    }
}

/// Without the right to look at it, a firewall that is only taken as found is left alone: everything else works.
fn unguarded(config: &mut firewall::Config, has_guard: bool) -> Option<String> {
    if config.mode == firewall::Mode::Off {
        return Some("somebody else opens ports: firewall.mode is off".into());
    }
    if has_guard || config.mode != firewall::Mode::Auto || sys::privilege::may_change_network() {
        return None;
    }
    config.mode = firewall::Mode::Off;
    let why = "this process may not look at it: give it CAP_NET_ADMIN, or open ports by hand";
    tracing::warn!(why, "the host's firewall is left alone");
    Some(why.into())
}

fn keepers(settings: &[NameSettings], node: &str) -> anyhow::Result<Option<Arc<dyn Provider>>> {
    let mut several = Several::default();
    for one in settings {
        let owner = |said: &Option<String>| Owner::new(said.as_deref().unwrap_or(node));
        several = match one {
            NameSettings::Rfc2136(one) => several.with(&one.zones, Arc::new(keeper(one, node)?)),
            NameSettings::Http(one) => several.with(&one.zones, Arc::new(by_http(one, owner(&one.owner)?)?)),
            NameSettings::Exec(one) => {
                let keeper = Exec::new(one.command.clone(), owner(&one.owner)?, one.ttl);
                several.with(&one.zones, Arc::new(keeper))
            }
        };
    }
    Ok((!several.is_empty()).then(|| Arc::new(several) as Arc<dyn Provider>))
}

/// A name server that takes updates, as it is configured for a node of this name.
pub(crate) fn keeper(settings: &Rfc2136Settings, node: &str) -> anyhow::Result<Rfc2136> {
    let owner = Owner::new(settings.owner.as_deref().unwrap_or(node))?;
    let adopt = settings.adopt.iter().map(|word| Owner::new(word)).collect::<Result<_, _>>()?;
    let group = settings.group.as_deref().map(Owner::new).transpose()?;
    let (server, zones, ttl) = (settings.server, settings.zones.clone(), settings.ttl);
    let config = names::Config { server, zones, owner, adopt, group, ttl };
    Ok(Rfc2136::new(&config, names::read_key(&settings.key_file)?)?)
}

fn by_http(settings: &HttpSettings, owner: Owner) -> anyhow::Result<Http> {
    let file = &settings.secret_file;
    let secret =
        std::fs::read_to_string(file).with_context(|| format!("read the secret in {}", file.display()))?;
    let HttpSettings { zones, template, variables, ttl, .. } = settings.clone();
    Ok(Http::new(HttpConfig { zones, template, variables, secret: secret.trim().to_owned(), owner, ttl })?)
}

/// A node that carries wishes out.
struct Carried {
    node: Arc<str>,
    shown: Reader<Status>,
    desk: Desk,
}

impl api::Exposure for Carried {
    fn exposures(&self) -> ::consul::exposure::Exposures {
        self.shown.now().shown(&self.node, true)
    }

    fn firewall(&self, word: &str) -> Result<(), api::Refused> {
        self.desk.hear(word)
    }
}

/// A node that only tells what it would do.
struct Planned {
    node: Arc<str>,
    wished: own::Config,
    store: Store,
    /// Nobody else's wishes would count.
    is_alone: bool,
}

impl api::Exposure for Planned {
    fn exposures(&self) -> ::consul::exposure::Exposures {
        let addresses = sys::host::addresses().unwrap_or_default();
        let wishes = own::wishes(&self.wished, &self.store.now(), &addresses);
        let is_heard = self.is_alone;
        Status { is_heard, ..Status::planned(&wishes) }.shown(&self.node, false)
    }
}
