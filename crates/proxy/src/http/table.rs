//! Which service a request is for.

use std::collections::HashMap;
use std::sync::Arc;

use route::Routes;

use super::manner::Manner;
use super::path::is_under;
use crate::config::{Http, HttpRoute};

/// What is asked for, in canonical form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked<'a> {
    /// Host, see [`super::authority::host`].
    pub(crate) host: &'a str,
    /// Path, see [`super::path::canonical`].
    pub(crate) path: &'a str,
}

/// Where it leads.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Service name.
    pub(crate) service: Arc<str>,
    /// Bytes to take off the front of the canonical path.
    pub(crate) strip: usize,
    /// What to put there instead.
    pub(crate) rewrite: Option<Arc<str>>,
    /// What is special about the route.
    pub(crate) manner: Option<Arc<Manner>>,
}

impl Found {
    pub(crate) fn service(service: Arc<str>, strip: usize) -> Found {
        Found { service, strip, rewrite: None, manner: None }
    }

    /// True when a request goes on as it came.
    pub(crate) fn is_plain(&self) -> bool {
        self.strip == 0 && self.manner.is_none()
    }
}

/// One way to find a service.
type Match = fn(&Table, &Routes, Asked<'_>) -> Option<Found>;

/// All ways to find a service, in order: the first that finds one wins. A new kind of route is a new line
/// here and its function below.
const MATCHES: &[Match] = &[
    // Configured rules: by host, then by any host; the longest path first.
    Table::by_rule,
    // A registered service by its bare name, which may have dots in a host's own domain.
    Table::by_name,
    // A name below one of our domains: the label before it is the service.
    Table::by_domain,
    // The first segment of the path, where that is switched on.
    Table::by_first_segment,
];

/// Rules for one host (or any), the longest path first.
type Rules = Vec<Rule>;

/// A rule with what is kept for it.
#[derive(Debug)]
struct Rule {
    route: HttpRoute,
    manner: Option<Arc<Manner>>,
}

/// The configured rules, indexed.
#[derive(Debug, Default)]
pub(crate) struct Table {
    exact: HashMap<Box<str>, Rules>,
    /// By what stands after `*.`.
    below: HashMap<Box<str>, Rules>,
    any: Rules,
    domains: Vec<Box<str>>,
    path_services: bool,
}

impl Table {
    /// Indexes the configured rules.
    pub(crate) fn new(config: &Http) -> Table {
        let mut table = Table { path_services: config.path_services, ..Table::default() };
        table.domains = config.domains.iter().map(|domain| format!(".{}", lower(domain)).into()).collect();
        for rule in &config.routes {
            let rules = match rule.host.as_deref().map(lower) {
                None => &mut table.any,
                Some(host) => match host.strip_prefix("*.") {
                    Some(suffix) => table.below.entry(suffix.into()).or_default(),
                    None => table.exact.entry(host.into()).or_default(),
                },
            };
            rules.push(Rule { route: rule.clone(), manner: Manner::new(rule) });
        }
        let all = table.exact.values_mut().chain(table.below.values_mut()).chain([&mut table.any]);
        // Stable: of two equal rules the first written wins.
        all.for_each(|rules| {
            rules.sort_by_key(|rule| std::cmp::Reverse(rule.route.path.as_ref().map_or(0, |p| p.len())))
        });
        table
    }

    /// True when the path may decide where a request to this host goes. Then only its canonical form is
    /// looked at and forwarded.
    pub(crate) fn decides_by_path(&self, host: &str) -> bool {
        // A redirection shows the path to the client again.
        let decides = |rule: &Rule| rule.route.path.is_some() || rule.route.options.redirect.is_some();
        self.path_services || self.rules(host).any(|rules| rules.iter().any(decides))
    }

    /// The service for a request.
    pub(crate) fn find(&self, routes: &Routes, asked: Asked<'_>) -> Option<Found> {
        MATCHES.iter().find_map(|matches| matches(self, routes, asked))
    }

    /// The same, with what decides it, in words.
    pub(crate) fn why(&self, routes: &Routes, asked: Asked<'_>) -> Option<(Found, String)> {
        let found = self.find(routes, asked)?;
        let why = if let Some(rule) = self.rule(asked) {
            written(&rule.route)
        } else if self.by_name(routes, asked).is_some() {
            "the name of a service".to_owned()
        } else if self.by_domain(routes, asked).is_some() {
            let below = self.domains.iter().find(|domain| asked.host.ends_with(&***domain));
            format!("a name below {}", below.map_or("", |domain| domain))
        } else {
            "the first segment of its path, which is a service".to_owned()
        };
        Some((found, why))
    }

    /// Rules that can match a host, the most specific first.
    fn rules<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a Rules> {
        let below = move || {
            let suffixes = host.match_indices('.').map(move |(at, _)| &host[at + 1..]);
            suffixes.filter_map(|suffix| self.below.get(suffix))
        };
        let below = (!self.below.is_empty()).then(below).into_iter().flatten();
        let any = (!self.any.is_empty()).then_some(&self.any);
        self.exact.get(host).into_iter().chain(below).chain(any)
    }

    fn rule<'a>(&'a self, asked: Asked<'a>) -> Option<&'a Rule> {
        let under = |rule: &&Rule| rule.route.path.as_deref().is_none_or(|path| is_under(asked.path, path));
        self.rules(asked.host).find_map(|rules| rules.iter().find(under))
    }

    fn by_rule(&self, _: &Routes, asked: Asked<'_>) -> Option<Found> {
        let Rule { route, manner } = self.rule(asked)?;
        let replaced = route.path.as_ref().filter(|_| route.strip || route.options.rewrite.is_some());
        Some(Found {
            service: route.service.clone(),
            strip: replaced.map_or(0, |path| path.trim_end_matches('/').len()),
            rewrite: route.options.rewrite.clone(),
            manner: manner.clone(),
        })
    }

    fn by_name(&self, routes: &Routes, asked: Asked<'_>) -> Option<Found> {
        let service = routes.known(asked.host)?;
        Some(Found::service(service, 0))
    }

    fn by_domain(&self, routes: &Routes, asked: Asked<'_>) -> Option<Found> {
        let name = self.domains.iter().find_map(|domain| asked.host.strip_suffix(&**domain))?;
        let service = routes.known(name).unwrap_or_else(|| name.into());
        Some(Found::service(service, 0))
    }

    fn by_first_segment(&self, routes: &Routes, asked: Asked<'_>) -> Option<Found> {
        let name = asked.path.strip_prefix('/')?.split('/').next().filter(|_| self.path_services)?;
        let service = routes.known(name)?;
        Some(Found::service(service, name.len() + 1))
    }
}

/// A rule in words.
fn written(route: &HttpRoute) -> String {
    let host = route.host.as_ref().map_or_else(|| "any host".to_owned(), |host| format!("host {host}"));
    let path = route.path.as_ref().map_or_else(String::new, |path| format!(", path {path}"));
    let what = match (&route.options.redirect, &route.options.rewrite) {
        (Some(place), _) => format!(" sends the client to {place}"),
        (None, Some(rewrite)) => format!(", in the place of which stands {rewrite}"),
        (None, None) if route.strip => ", which is taken off".to_owned(),
        (None, None) => String::new(),
    };
    format!("the rule for {host}{path}{what}")
}

fn lower(text: &str) -> String {
    text.trim_end_matches('.').to_ascii_lowercase()
}
