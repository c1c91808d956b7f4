//! Public names at a provider with an API over HTTP, spoken to by a template.
//!
//! That a name is ours stands in a TXT record beside it, as with DNS UPDATE; but here it is read first and
//! changed afterwards, since such providers compare nothing themselves.

mod template;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use super::several::is_in;
use super::update::side_name;
use super::{BoxFuture, Key, NameError, Owner, Provider, Rdata};
use crate::causes::chain;
use crate::http::{Answer, Base, HttpError, Limits, TlsError, TlsSettings};
pub use template::TemplateError;
use template::{Call, Template, at, fill};

/// How much of a provider's answer is waited for.
const LIMITS: Limits = Limits { time: Duration::from_secs(15), body: 1 << 20 };

/// Which provider, and as whom.
#[derive(Clone)]
pub struct HttpConfig {
    /// Zones that may be written, and no others.
    pub zones: Vec<String>,
    /// `gandi`, `cloudflare`, `desec`, `dyndns2`, or the path of a file.
    pub template: String,
    /// Filled in where the template says so, and before its own.
    pub variables: BTreeMap<String, String>,
    /// What proves to the provider that it is us.
    pub secret: String,
    /// Who we are to those who share the zone.
    pub owner: Owner,
    /// How long others may remember.
    pub ttl: Duration,
}

/// Why a provider cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its template.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// Where it is.
    #[error("the template needs `server` in [public_dns.variables]")]
    NoServer,
    /// Its address.
    #[error(transparent)]
    Address(#[from] HttpError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Such a provider.
pub struct Http {
    template: Template,
    base: Base,
    zones: Vec<String>,
    variables: BTreeMap<String, String>,
    secret: String,
    mark: String,
    ttl: u64,
}

/// Records of one name and type, as the provider has them.
struct Found {
    values: Vec<String>,
    ids: Vec<String>,
}

impl Http {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// [`ProviderError`].
    pub fn new(config: HttpConfig) -> Result<Http, ProviderError> {
        let template = Template::load(&config.template)?;
        let mut variables = template.variables.clone();
        variables.extend(config.variables);
        let server = variables.get("server").ok_or(ProviderError::NoServer)?;
        let base = Base::parse(server)?.with_tls(&TlsSettings::default())?;
        let plain = |zone: &String| zone.trim_end_matches('.').to_ascii_lowercase();
        let zones = config.zones.iter().map(plain).collect();
        let (mark, ttl) = (config.owner.mark(), config.ttl.as_secs());
        Ok(Http { template, base, zones, variables, secret: config.secret, mark, ttl })
    }

    fn zone(&self, name: &str) -> Result<&String, NameError> {
        let zones = self.zones.iter().filter(|zone| is_in(name, zone));
        zones.max_by_key(|zone| zone.len()).ok_or(NameError::Outside)
    }

    /// What fills the places of a request about one name and type.
    fn places(&self, name: &str, kind: &str) -> Result<BTreeMap<&str, String>, NameError> {
        let zone = self.zone(name)?;
        let sub = name.strip_suffix(zone.as_str()).unwrap_or_default().trim_end_matches('.');
        let mut places: BTreeMap<&str, String> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        places.extend([
            ("secret", self.secret.clone()),
            ("basic", STANDARD.encode(&self.secret)),
            ("zone", zone.clone()),
            ("name", name.replace('*', "%2A")),
            ("text_name", json(name)),
            ("label", if sub.is_empty() { "@".into() } else { sub.replace('*', "%2A") }),
            ("sub", json(sub)),
            ("type", kind.to_owned()),
        ]);
        Ok(places)
    }

    async fn call(&self, call: &Call, places: &BTreeMap<&str, String>) -> Result<Answer, NameError> {
        let refuse = |why: &str| NameError::Refused(format!("the template's request cannot be sent: {why}"));
        let body = call.body.as_ref().map_or_else(String::new, |body| fill(body, places));
        let mut request = Request::builder().method(call.method.as_str()).uri(fill(&call.path, places));
        if call.body.is_some() {
            request = request.header("content-type", "application/json");
        }
        request = request.header("user-agent", concat!("portolan/", env!("CARGO_PKG_VERSION")));
        for (name, value) in &self.template.headers {
            request = request.header(name.as_str(), fill(value, places));
        }
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| refuse(&error.to_string()))?;
        let answer = self.base.send(request, LIMITS).await;
        answer.map_err(|error| NameError::Silent(self.without_secret(&chain(&error))))
    }

    /// The same; a bad status is a refusal, and so is a text that does not begin as it shall.
    async fn done(&self, call: &Call, places: &BTreeMap<&str, String>) -> Result<(), NameError> {
        let answer = self.call(call, places).await?;
        self.is_done(call, answer)
    }

    fn is_done(&self, call: &Call, answer: Answer) -> Result<(), NameError> {
        let answer = self.good(answer)?;
        let text = String::from_utf8_lossy(&answer.body);
        let is_taken =
            call.accepts.is_empty() || call.accepts.iter().any(|word| text.starts_with(word.as_str()));
        if is_taken {
            return Ok(());
        }
        let said: String = self.without_secret(text.trim()).chars().take(200).collect();
        Err(NameError::Refused(said))
    }

    fn good(&self, answer: Answer) -> Result<Answer, NameError> {
        let refused = |error: HttpError| NameError::Refused(self.without_secret(&error.to_string()));
        answer.good(&self.base).map_err(refused)
    }

    /// Errors name the address that was asked, which a template may have the secret in, and some servers repeat it.
    fn without_secret(&self, text: &str) -> String {
        let (plain, basic) = (&self.secret, STANDARD.encode(&self.secret));
        if plain.is_empty() { text.to_owned() } else { text.replace(plain, "…").replace(&basic, "…") }
    }

    async fn read(&self, name: &str, kind: &str) -> Result<Found, NameError> {
        let Some(call) = &self.template.read else {
            return Ok(Found { values: Vec::new(), ids: Vec::new() });
        };
        let answer = self.call(call, &self.places(name, kind)?).await?;
        if answer.status == http::StatusCode::NOT_FOUND {
            return Ok(Found { values: Vec::new(), ids: Vec::new() });
        }
        let answer = self.good(answer)?;
        let value = serde_json::from_slice(&answer.body)
            .map_err(|error| NameError::Silent(format!("its answer is no JSON: {error}")))?;
        let texts = |pointer: &Option<String>| pointer.as_ref().map_or_else(Vec::new, |at_| at(&value, at_));
        let values = texts(&call.values);
        let plain = |value: String| value.trim_matches('"').trim_end_matches('.').to_owned();
        Ok(Found { values: values.into_iter().map(plain).collect(), ids: texts(&call.ids) })
    }

    /// Makes the records of a name exactly these, whatever they were.
    async fn write(&self, name: &str, kind: &str, values: &[String]) -> Result<(), NameError> {
        let mut places = self.places(name, kind)?;
        places.insert("ttl", self.ttl.max(self.template.write.least_ttl).to_string());
        let is_each = self.template.read.as_ref().is_some_and(|read| read.ids.is_some());
        let is_quoted = kind == "TXT" && self.template.quoted_text;
        let shown = |value: &String| if is_quoted { format!("\"{value}\"") } else { value.clone() };
        if !is_each {
            let all: Vec<String> = values.iter().map(|value| json(&shown(value))).collect();
            places.insert("values", format!("[{}]", all.join(",")));
            places.insert("address", values.first().cloned().unwrap_or_default());
            return self.done(&self.template.write, &places).await;
        }
        let found = self.read(name, kind).await?;
        let is_found = |value: &String| found.values.iter().any(|known| known == value.trim_end_matches('.'));
        let is_wanted = |known: &String| values.iter().any(|value| known == value.trim_end_matches('.'));
        for value in values.iter().filter(|value| !is_found(value)) {
            places.insert("value", json(&shown(value)));
            self.done(&self.template.write, &places).await?;
        }
        let gone = found.values.iter().zip(&found.ids).filter(|(known, _)| !is_wanted(known));
        for (_, id) in gone {
            self.remove_one(name, kind, id).await?;
        }
        Ok(())
    }

    async fn erase(&self, name: &str, kind: &str) -> Result<(), NameError> {
        let is_each = self.template.read.as_ref().is_some_and(|read| read.ids.is_some());
        if !is_each {
            return self.remove_one(name, kind, "").await;
        }
        for id in self.read(name, kind).await?.ids {
            self.remove_one(name, kind, &id).await?;
        }
        Ok(())
    }

    async fn remove_one(&self, name: &str, kind: &str, id: &str) -> Result<(), NameError> {
        let Some(call) = &self.template.remove else {
            return Err(NameError::Refused("this provider removes nothing; remove the name by hand".into()));
        };
        let mut places = self.places(name, kind)?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if !id.chars().all(is_plain) {
            return Err(NameError::Silent("its record has an id that is none".into()));
        }
        places.insert("id", id.to_owned());
        let answer = self.call(call, &places).await?;
        // Somebody was faster.
        if answer.status == http::StatusCode::NOT_FOUND {
            return Ok(());
        }
        self.is_done(call, answer)
    }

    /// True when the mark is ours; an error when it is somebody else's, or when there is none and the name is
    /// taken.
    async fn is_ours(&self, key: &Key) -> Result<bool, NameError> {
        let marks = self.read(&side_name(key), "TXT").await?.values;
        match marks.first() {
            Some(_) if marks.contains(&self.mark) => Ok(true),
            Some(other) => Err(NameError::Foreign(other.trim_start_matches("portolan-owner=").to_owned())),
            None => Ok(false),
        }
    }

    async fn show(&self, key: &Key, values: &BTreeSet<Rdata>) -> Result<(), NameError> {
        let (name, kind) = (&*key.0, key.1.word());
        let values: Vec<String> = values.iter().map(text).collect();
        if !self.template.unowned && !self.is_ours(key).await? {
            for kind in
                ["A", "AAAA", "CNAME", "SRV", "TXT"].into_iter().filter(|one| *one == kind || *one == "CNAME")
            {
                if !self.read(name, kind).await?.values.is_empty() {
                    return Err(NameError::Foreign("nobody's mark stands there".into()));
                }
            }
            self.write(&side_name(key), "TXT", std::slice::from_ref(&self.mark)).await?;
        }
        self.write(name, kind, &values).await
    }

    async fn hide(&self, key: &Key) -> Result<(), NameError> {
        if self.template.unowned {
            return self.erase(&key.0, key.1.word()).await;
        }
        // Gone already, or somebody else's by now.
        match self.is_ours(key).await {
            Ok(true) => {}
            Ok(false) | Err(NameError::Foreign(_)) => return Ok(()),
            Err(unknown) => return Err(unknown),
        }
        self.erase(&key.0, key.1.word()).await?;
        self.erase(&side_name(key), "TXT").await
    }
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn text(value: &Rdata) -> String {
    match value {
        Rdata::A(v4) => v4.to_string(),
        Rdata::Aaaa(v6) => v6.to_string(),
        Rdata::Cname(name) => format!("{name}."),
        Rdata::Srv { priority, weight, port, target } => format!("{priority} {weight} {port} {target}."),
        Rdata::Txt(text) => text.to_string(),
    }
}

impl Provider for Http {
    fn set<'a>(&'a self, key: &'a Key, values: &'a BTreeSet<Rdata>) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(self.show(key, values))
    }

    fn remove<'a>(&'a self, key: &'a Key) -> BoxFuture<'a, Result<(), NameError>> {
        Box::pin(self.hide(key))
    }
}
