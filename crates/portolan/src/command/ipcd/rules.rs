//! From the seed's flags to rules and redirections of this host.

use std::net::IpAddr;
use std::sync::Arc;

use catalog::intention::{ANY_SERVICE, Origin};
use catalog::{Action, Destination, Direction, Intention, Mode, Network, Redirection, Source};
use route::Here;

use super::words::{Flag, STAR, pair};

/// What the flags say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Said {
    rules: Vec<Rule>,
    redirections: Vec<Arc<Redirection>>,
    /// For whoever typed them.
    pub(super) notes: Vec<String>,
    /// Whether connections that were handed over can be ended.
    pub(super) ends_handed: bool,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    intention: Intention,
    /// A host by its name, where the other side proves none: its addresses are what is judged.
    by_address_of: Option<String>,
}

/// Reads all flags.
///
/// # Errors
/// Which flag, and what is wrong with it.
pub(super) fn read(flags: &[Flag], files: &[String]) -> Result<Said, String> {
    let mut said = Said::default();
    for flag in flags {
        let wrong = |why: String| format!("{} {}: {why}", flag.name, shortened(&flag.words));
        match (flag.name, &flag.words[..]) {
            ("--redirect", [name, to @ ..]) if !to.is_empty() => {
                said.redirections.push(Arc::new(redirection(name, to)));
            }
            ("--redirect", _) => return Err(wrong("a name belongs here, and where it leads".to_owned())),
            (name, [direction, words @ ..]) => {
                let (service, uri, was_replaced) = pair(words, files).map_err(wrong)?;
                let rule = rule(name == "--allow", direction, &service, &uri).map_err(wrong)?;
                if was_replaced {
                    said.notes.push(format!(
                        "{name} {direction}: the shell put the names of files in the place of a star; this is read as \
                         \"{}\". Write it in quotes ('*'), or any",
                        rule.intention
                    ));
                }
                said.rules.push(rule);
            }
            _ => return Err(wrong("in or out belongs here, then a service and a URI".to_owned())),
        }
    }
    if let Some(chain) = said.circle() {
        return Err(format!("--redirect: the names lead in a circle: {}", chain.join(" → ")));
    }
    Ok(said)
}

fn shortened(words: &[String]) -> String {
    let shown = words.iter().take(4).map(String::as_str).collect::<Vec<_>>().join(" ");
    if words.len() > 4 { format!("{shown} …") } else { shown }
}

fn origin() -> Option<Origin> {
    Some(Origin { file: "the command line".into(), line: 0 })
}

fn redirection(name: &str, to: &[String]) -> Redirection {
    let destination = |text: &String| {
        let weighted = text.rsplit_once('=').and_then(|(to, weight)| Some((to, weight.parse().ok()?)));
        let (to, weight) = weighted.filter(|(_, weight)| *weight > 0).unwrap_or((text, 1));
        Destination { to: to.into(), weight }
    };
    Redirection { to: to.iter().map(destination).collect(), origin: origin(), ..Redirection::new(name, "") }
}

fn rule(allows: bool, direction: &str, service: &str, uri: &str) -> Result<Rule, String> {
    let direction = match direction {
        "in" => Direction::In,
        "out" => Direction::Out,
        other => return Err(format!("\"{other}\" is neither in nor out")),
    };
    let service = match service {
        "any" | STAR => ANY_SERVICE,
        name if broker::uri::is_service_name(name) => name,
        name => return Err(format!("\"{name}\" is no service's name")),
    };
    let (scheme, source, by_address_of) = other_side(direction, uri)?;
    let action = if allows { Action::Allow } else { Action::Deny };
    let mut intention = Intention::new(action, source, service);
    (intention.scheme, intention.direction, intention.origin) = (scheme, Some(direction), origin());
    intention.id = intention.default_id();
    Ok(Rule { intention, by_address_of })
}

type OtherSide = (Option<Arc<str>>, Source, Option<String>);

/// `*`, `tls:*`, `tls:example.com`, `tls:example.com:9000`, each also with `//` behind the colon; `uid:1000`.
fn other_side(direction: Direction, uri: &str) -> Result<OtherSide, String> {
    if uri == STAR || uri == "any" {
        return Ok((None, Source::Any, None));
    }
    let broken = || format!("\"{uri}\" is no scheme with a host, like tls:example.com, nor any");
    let (scheme, place) = uri.split_once(':').ok_or_else(broken)?;
    let place = place.strip_prefix("//").unwrap_or(place).trim_end_matches('/');
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || place.is_empty() || !scheme.bytes().all(plain) {
        return Err(broken());
    }
    if scheme == "uid" {
        return Source::parse(uri).map(|source| (None, source, None)).map_err(|error| error.to_string());
    }
    let scheme: Option<Arc<str>> = Some(scheme.to_ascii_lowercase().into());
    if place == STAR || place == "any" {
        return Ok((scheme, Source::Any, None));
    }
    let proves_its_name = matches!(scheme.as_deref(), Some("tls" | "wss" | "quic"));
    if direction == Direction::In && !proves_its_name {
        if let Some(network) = Network::parse(place) {
            return Ok((scheme, Source::Network(network), None));
        }
        if !broker::uri::is_host(place) {
            return Err(format!("\"{place}\" is no host; a port says nothing of who comes in"));
        }
        return Ok((scheme, Source::Any, Some(place.to_owned())));
    }
    let source = Source::parse(&format!("host:{place}")).map_err(|error| error.to_string())?;
    match &source {
        Source::Host { port: Some(_), .. } if direction == Direction::In => {
            Err("a port says nothing of who comes in: leave it out".to_owned())
        }
        Source::Host { name, .. } if !proves_its_name && name.parse::<IpAddr>().is_err() => {
            let name = name.to_string();
            Ok((scheme, source, Some(name)))
        }
        _ => Ok((scheme, source, None)),
    }
}

impl Said {
    fn circle(&self) -> Option<Vec<Arc<str>>> {
        let find =
            |name: &str| self.redirections.iter().find(|found| *found.name == *name).map(|found| &**found);
        self.redirections.iter().find_map(|first| catalog::redirection::circle(&first.name, &find))
    }

    /// Hosts whose addresses are judged.
    pub(super) fn hosts(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().filter_map(|rule| rule.by_address_of.as_deref())
    }

    /// True when a rule says who may come in.
    pub(super) fn is_about_incoming(&self) -> bool {
        self.rules.iter().any(|rule| rule.intention.direction == Some(Direction::In))
    }

    /// True when a rule with this action is about what comes from this host, which only its addresses tell.
    pub(super) fn goes_by_addresses(&self, host: &str, action: Action) -> bool {
        let mut about = self.rules.iter().filter(|rule| rule.by_address_of.as_deref() == Some(host));
        about.any(|rule| rule.intention.direction == Some(Direction::In) && rule.intention.action == action)
    }

    /// What this host adds to rules that nobody else has: those of the flags, with `addresses` for hosts. A direction
    /// that no rule is about stays open. What goes from a program to a service on this host goes neither in nor out.
    pub(super) fn here(&self, addresses: &dyn Fn(&str) -> Vec<IpAddr>) -> Here {
        let is_about = |direction| move |rule: &Arc<Intention>| rule.direction == Some(direction);
        let rules: Vec<Arc<Intention>> = self.rules.iter().flat_map(|rule| rule.spread(addresses)).collect();
        let of_this_host = |rule: &Arc<Intention>| rule.scheme.as_deref() == Some("unix");
        let (mut ordered, others): (Vec<_>, Vec<_>) = rules.into_iter().partition(of_this_host);
        let written = self.rules.iter().map(|rule| Arc::new(rule.intention.clone())).collect::<Vec<_>>();
        ordered.push(Arc::new(open(Direction::Out, Some("unix"))));
        ordered.extend(others);
        for direction in [Direction::In, Direction::Out] {
            let mut about = written.iter().filter(|rule| !of_this_host(rule));
            if !about.any(is_about(direction)) {
                ordered.push(Arc::new(open(direction, None)));
            }
        }
        let mode = if self.rules.is_empty() { Mode::Open } else { Mode::Enforce };
        let (redirections, ends_handed) = (self.redirections.clone(), self.ends_handed);
        Here { rules: ordered, redirections, mode, ends_handed, ..Here::default() }
    }
}

impl Rule {
    /// The rule once for every address that it is about; of what goes out, also as it is written.
    fn spread(&self, addresses: &dyn Fn(&str) -> Vec<IpAddr>) -> Vec<Arc<Intention>> {
        let Some(host) = &self.by_address_of else { return vec![Arc::new(self.intention.clone())] };
        let found = addresses(host).into_iter();
        let (as_written, sources): (_, Vec<Source>) = match &self.intention.source {
            Source::Host { port, .. } => {
                let at = |address: IpAddr| Source::Host { name: address.to_string().into(), port: *port };
                (Some(Arc::new(self.intention.clone())), found.map(at).collect())
            }
            _ => {
                let networks = found.filter_map(|address| Network::parse(&address.to_string()));
                (None, networks.map(Source::Network).collect())
            }
        };
        let at = |source| {
            let mut intention = Intention { source, note: host.as_str().into(), ..self.intention.clone() };
            intention.id = intention.default_id();
            Arc::new(intention)
        };
        as_written.into_iter().chain(sources.into_iter().map(at)).collect()
    }
}

fn open(direction: Direction, scheme: Option<&str>) -> Intention {
    let mut rule = Intention::new(Action::Allow, Source::Any, ANY_SERVICE);
    rule.direction = Some(direction);
    rule.scheme = scheme.map(Into::into);
    rule.id = rule.default_id();
    rule
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::command::ipcd::words::split;

    fn said(line: &str) -> Result<Said, String> {
        let words = line.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect();
        read(&split(words).unwrap().0, &[])
    }

    fn shown(line: &str) -> Vec<String> {
        let addresses = |host: &str| match host {
            "two.example" => vec!["10.0.0.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            _ => Vec::new(),
        };
        said(line).unwrap().here(&addresses).rules.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_seeds_rules_are_these() {
        let line =
            "--allow in authd tls:example.com --deny in * * --allow out pong tls:pong.example.com:9000";
        let rules = [
            "allow any to any, by unix, out",
            "allow host:example.com to authd, by tls, in",
            "deny any to any, in",
            "allow host:pong.example.com:9000 to pong, by tls, out",
        ];
        assert_eq!(shown(line), rules);
        assert_eq!(shown(&line.replace('*', "any")), rules);
    }

    #[test]
    fn a_direction_without_a_rule_stays_open_and_redirections_alone_close_nothing() {
        let incoming = ["allow any to any, by unix, out", "deny any to any, in", "allow any to any, out"];
        assert_eq!(shown("--deny in * *"), incoming);
        let local = shown("--deny out authd unix:any");
        assert_eq!(local[..2], ["deny any to authd, by unix, out", "allow any to any, by unix, out"]);
        let redirected = said("--redirect authd nextversion-authd").unwrap().here(&|_| Vec::new());
        assert_eq!((redirected.mode, redirected.redirections.len()), (Mode::Open, 1));
        assert_eq!(redirected.redirections[0].to_string(), "authd to nextversion-authd");
        assert!(said("--redirect a b --redirect b a").unwrap_err().contains("circle"));
    }

    #[test]
    fn a_host_that_proves_no_name_is_judged_by_its_addresses() {
        let rules =
            shown("--allow in authd tcp:two.example --allow in authd tcp:10.0.0.0/8 --deny in any any");
        assert_eq!(rules[1], "allow 10.0.0.1/32 to authd, by tcp, in");
        assert_eq!(rules[2], "allow 2001:db8::1/128 to authd, by tcp, in");
        assert_eq!(rules[3], "allow 10.0.0.0/8 to authd, by tcp, in");
        let rules =
            shown("--deny out any tcp:two.example:80 --allow out any tcp:10.0.0.9 --allow out any any");
        assert_eq!(rules[1], "deny host:two.example:80 to any, by tcp, out");
        assert_eq!(rules[2], "deny host:10.0.0.1:80 to any, by tcp, out");
        assert!(rules[3].starts_with("deny host:") && rules[3].contains("2001:db8::1"), "{}", rules[3]);
        assert_eq!(rules[4], "allow host:10.0.0.9 to any, by tcp, out");
    }

    #[test]
    fn what_would_never_match_is_refused() {
        for line in [
            "--allow in authd tls:example.com:9000",
            "--allow in authd tcp:example.com:9000",
            "--allow in authd example.com",
            "--allow sideways authd any",
            "--allow in a/b any",
            "--allow in authd tls:",
            "--allow",
            "--redirect authd",
        ] {
            assert!(said(line).is_err(), "{line}");
        }
    }
}
