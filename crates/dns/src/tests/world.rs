//! A catalog, facts and a zone that follows them, driven by lines of text.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use catalog::{
    Catalog, CheckDef, CheckRegistration, Command, Deregister, Destination, Envelope, InitialStatus,
    InstanceDef, InstanceRegistration, NodeDef, NodeRegistration, Outcome, Probe, QueryCommand, QueryDef,
    Redirection, RedirectionCommand, Register, Status, Weights,
};
use route::{Facts, Network6, Policy, VirtualSocket};

use crate::config::Config;
use crate::plan::Plan;
use crate::responder::Responder;
use crate::zone::Zone;
use crate::zone::indoors::Indoors;
use crate::zone::redirected::Redirected;

pub(crate) struct World {
    pub(crate) config: Config,
    pub(crate) responder: Responder,
    pub(crate) catalog: Catalog,
    index: u64,
    pub(crate) facts: Facts,
    indoors: catalog::exposure::Indoors,
    pub(crate) zone: Zone,
}

impl World {
    pub(crate) fn new(config: Config) -> World {
        let responder = Responder::new(&config, "here", "dc1").unwrap();
        let mut world = World {
            config,
            responder,
            catalog: Catalog::default(),
            index: 0,
            facts: Facts::default(),
            indoors: Default::default(),
            zone: Zone::default(),
        };
        world.follow();
        world
    }

    /// Carries out one line:
    ///
    /// ```text
    /// node NAME ADDRESS [key=value ...]        gone NODE
    /// register SERVICE[/ID]@NODE [ADDRESS]:PORT [tags=a,b] [weight=N] [status=S] [key=value ...]
    /// deregister ID@NODE      status ID@NODE S      status @NODE S
    /// redirect NAME TO[=WEIGHT] ...      redirect NAME
    /// query NAME SERVICE [tag,!tag] [ttl=10s] [template]
    /// socket SERVICE ADDRESS:PORT [IPV6]      close SERVICE      local ADDRESS      six BASE-OF-A-/64
    /// home ADDRESS/PREFIX      inside NAME ADDRESS ...
    /// ```
    pub(crate) fn run(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["socket" | "close" | "local" | "six", ..] => self.fact(line),
            ["home", network] => {
                let (address, prefix) = network.split_once('/').unwrap();
                self.indoors.networks.push((address.parse().unwrap(), prefix.parse().unwrap()));
            }
            ["inside", name, ref addresses @ ..] => {
                let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
                self.indoors.names.insert(name.into(), addresses);
            }
            ["node", name, address, ref meta @ ..] => self.node(name, address, meta),
            ["gone", node] => self.apply(Command::Deregister(Deregister::Node { node: node.into() })),
            ["register", what, place, ref options @ ..] => self.register(what, place, options),
            ["deregister", what] => {
                let (id, node) = what.split_once('@').unwrap();
                let (node, id) = (node.into(), id.into());
                self.apply(Command::Deregister(Deregister::Instance { node, id, registered_index: None }));
            }
            ["query", name, service, ref options @ ..] => self.query(name, service, options),
            ["redirect", name, ref to @ ..] => self.redirect(name, to),
            ["status", what, status] => self.status(what, status),
            _ => panic!("what is \"{line}\"?"),
        }
        self.follow();
    }

    /// One of the lines about what the host observes, without bringing the zone up to date.
    pub(crate) fn fact(&mut self, line: &str) {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["socket", service, address] => self.open(service, address, None),
            ["socket", service, address, six] => self.open(service, address, Some(six.parse().unwrap())),
            ["six", base] => {
                self.facts.six = Some(Network6 { base: base.parse().unwrap(), prefix: 64 });
            }
            ["close", service] => drop(self.facts.virtual_sockets.remove(service)),
            ["local", address] => self.facts.own_addresses.push(address.parse().unwrap()),
            _ => panic!("what is \"{line}\"?"),
        }
    }

    fn open(&mut self, service: &str, address: &str, six: Option<Ipv6Addr>) {
        let socket = VirtualSocket { address: address.parse().unwrap(), moved: None, six };
        self.facts.virtual_sockets.insert(service.into(), socket);
    }

    fn redirect(&mut self, name: &str, to: &[&str]) {
        let destination = |text: &&str| {
            let (to, weight) = text.split_once('=').unwrap_or((text, "1"));
            Destination { to: to.into(), weight: weight.parse().unwrap() }
        };
        let command = match to {
            [] => RedirectionCommand::Remove { name: name.into() },
            _ => {
                let to = to.iter().map(destination).collect();
                RedirectionCommand::Put(Redirection { to, ..Redirection::new(name, "") }.into())
            }
        };
        self.apply(Command::Redirection(command));
    }

    fn query(&mut self, name: &str, service: &str, options: &[&str]) {
        let mut def =
            QueryDef { id: name.into(), name: name.into(), service: service.into(), ..QueryDef::default() };
        for option in options {
            match option.split_once('=') {
                Some(("ttl", ttl)) => def.ttl = ttl.into(),
                None if *option == "template" => def.template = Some(Default::default()),
                None => def.tags = option.split(',').map(Arc::from).collect(),
                _ => panic!("what is \"{option}\"?"),
            }
        }
        self.apply(Command::Query(QueryCommand::Set { def: Box::new(def), replace: false }));
    }

    fn node(&mut self, name: &str, address: &str, meta: &[&str]) {
        let mut labels = labels(meta);
        let tagged = ["lan_ipv4", "lan_ipv6"].map(|tag| labels.remove_entry(tag)).into_iter().flatten();
        let def = NodeDef {
            name: name.into(),
            id: "".into(),
            address: address.into(),
            tagged_addresses: tagged.collect(),
            meta: labels.into_iter().collect(),
        };
        let node = Some(NodeRegistration { def, only_if_absent: false });
        self.apply(Command::Register(Box::new(Register { node, on: name.into(), ..Register::default() })));
    }

    fn register(&mut self, what: &str, place: &str, options: &[&str]) {
        let (name, node) = what.split_once('@').unwrap();
        let (service, id) = name.split_once('/').unwrap_or((name, name));
        let (address, port) = place.rsplit_once(':').unwrap();
        let mut options = labels(options);
        let tags = options.remove("tags");
        let weight = options.remove("weight").map_or(1, |text| text.parse().unwrap());
        let status = options.remove("status");
        let def = InstanceDef {
            tags: tags.iter().flat_map(|tags| tags.split(',')).map(Arc::from).collect(),
            address: address.trim_matches(['[', ']']).into(),
            meta: options.into_iter().collect(),
            weights: Weights { passing: weight, warning: 1 },
            ..InstanceDef::new(id.into(), service.into(), port.parse().unwrap())
        };
        let checks = status.map(|status| check(id, &status)).into_iter().collect();
        self.apply(Command::Register(Box::new(Register {
            node: None,
            on: node.into(),
            instance: Some(InstanceRegistration { def, replace_checks: true }),
            checks,
        })));
    }

    fn status(&mut self, what: &str, status: &str) {
        let (id, node) = what.split_once('@').unwrap();
        let register = Register { on: node.into(), checks: vec![check(id, status)], ..Register::default() };
        self.apply(Command::Register(Box::new(register)));
    }

    fn apply(&mut self, command: Command) {
        let outcome = self.try_apply(command);
        assert!(outcome.is_done(), "{outcome:?}");
    }

    /// Applies a command, without bringing the zone up to date.
    pub(crate) fn try_apply(&mut self, command: Command) -> Outcome {
        self.index += 1;
        let (sequence, time_ms) = (self.index, 1_000_000 + self.index);
        let envelope = Envelope { node: "here".into(), epoch: 1, sequence, time_ms, command };
        self.catalog.apply(self.index, &envelope).outcome
    }

    /// Brings the zone up to date by what changed.
    pub(crate) fn follow(&mut self) {
        let plan = Plan::new(&self.config);
        let zone = plan.advance(&self.zone, &self.catalog.snapshot(), &self.facts);
        let indoors = Indoors::new(&self.indoors);
        self.zone = Zone { redirected: self.redirected(&plan), indoors, ..zone };
    }

    /// The zone made from nothing.
    pub(crate) fn projected(&self) -> Zone {
        let plan = Plan::new(&self.config);
        let zone = plan.project(&self.catalog.snapshot(), &self.facts);
        Zone { redirected: self.redirected(&plan), indoors: Indoors::new(&self.indoors), ..zone }
    }

    fn redirected(&self, plan: &Plan) -> Option<Arc<Redirected>> {
        plan.redirected(&Arc::new(Policy::compile(&self.catalog.snapshot(), Arc::default(), None)))
    }
}

fn check(id: &str, status: &str) -> CheckRegistration {
    let def = CheckDef {
        id: format!("check:{id}").into(),
        name: "".into(),
        notes: "".into(),
        service_id: id.into(),
        probe: Probe::External,
        deregister_after_ms: None,
        success_before_passing: 0,
        failures_before_warning: 0,
        failures_before_critical: 0,
        definition: None,
    };
    let status = InitialStatus::Set(Status::parse(status).unwrap());
    CheckRegistration { def, status, output: "".into() }
}

fn labels(words: &[&str]) -> BTreeMap<Arc<str>, Arc<str>> {
    let pair = |word: &&str| word.split_once('=').map(|(key, value)| (key.into(), value.into()));
    words.iter().map(|word| pair(word).unwrap_or_else(|| panic!("\"{word}\" is not key=value"))).collect()
}

/// Where a client of a scenario sits.
pub(crate) fn address_of(client: &str) -> IpAddr {
    match client {
        "local" => "127.0.0.1".parse().unwrap(),
        "remote" => "192.0.2.1".parse().unwrap(),
        address => address.parse().unwrap(),
    }
}
