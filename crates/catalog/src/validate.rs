//! What may be registered: names by DNS label rules, sizes that nobody should need to exceed.

use crate::command::Register;
use crate::intention::{ANY_SERVICE, Intention};
use crate::members::{Candidate, LIVENESS_CHECK};
use crate::model::{Cadence, CheckDef, InstanceDef, NodeDef, Probe};
use crate::redirection::{Destination, Redirection};

/// Longest check output kept, in bytes.
pub const MAX_OUTPUT: usize = 4 * 1024;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 512;
/// Largest value of a key, in bytes, as in Consul.
pub const MAX_VALUE: usize = 512 * 1024;
/// Most tags on one instance.
pub const MAX_TAGS: usize = 64;
/// Most labels in one `Meta`, as in Consul.
pub const MAX_META: usize = 64;
/// Most places that one name leads to.
pub const MAX_DESTINATIONS: usize = 16;
/// Most addresses of one node's mesh.
pub const MAX_MESH_ADDRESSES: usize = 8;
/// Largest certificate, in bytes.
pub const MAX_CERTIFICATE: usize = 16 * 1024;
/// Longest free text field (tag, label value, notes), in bytes.
pub const MAX_TEXT: usize = 2048;
/// Longest text of what an external check asks, in bytes.
pub const MAX_DEFINITION: usize = 16 * 1024;

/// Why something may not be registered: what, and the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} \"{value}\": {rule}")]
pub struct Invalid {
    /// Which field.
    pub what: &'static str,
    /// Its value, shortened.
    pub value: String,
    /// The rule it breaks, as a sentence without a full stop.
    pub rule: String,
}

impl Invalid {
    /// An error about `value` of field `what`.
    pub fn new(what: &'static str, value: &str, rule: impl Into<String>) -> Invalid {
        let shown: String = value.chars().take(80).flat_map(char::escape_debug).collect();
        Invalid { what, value: shown, rule: rule.into() }
    }
}

/// Checks a name that becomes a DNS label (RFC 1035 section 2.3.1, digits first allowed by RFC 1123
/// section 2.1): 1 to 63 letters, digits and hyphens, no hyphen at either end. An underscore inside is let
/// through, because Consul's users have such names and DNS carries them.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn label(what: &'static str, name: &str) -> Result<(), Invalid> {
    let broken = |rule: String| Err(Invalid::new(what, name, rule));
    if name.is_empty() {
        return broken("it is empty, and a name needs 1 to 63 characters".into());
    }
    if name.len() > 63 {
        return broken(format!("it has {} characters, and a DNS label has at most 63", name.len()));
    }
    if let Some(bad) = name.chars().find(|c| !c.is_ascii_alphanumeric() && *c != '-' && *c != '_') {
        return broken(format!("{bad:?} is not allowed, a DNS label has letters, digits and hyphens only"));
    }
    if name.starts_with(['-', '_']) || name.ends_with(['-', '_']) {
        return broken("it must start and end with a letter or a digit".into());
    }
    Ok(())
}

/// Checks a node name: labels joined by dots, 253 characters at most, because host names are used.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn node_name(name: &str) -> Result<(), Invalid> {
    if name.len() > 253 {
        return Err(Invalid::new("node name", name, "it is longer than 253 characters"));
    }
    name.split('.').try_for_each(|part| label("node name", part))
}

/// Checks an id (instance, check): 1 to 256 printable characters.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn id(what: &'static str, value: &str) -> Result<(), Invalid> {
    if value.is_empty() || value.len() > 256 {
        return Err(Invalid::new(what, value, "it needs 1 to 256 characters"));
    }
    if value.chars().any(char::is_control) {
        return Err(Invalid::new(what, value, "control characters are not allowed"));
    }
    Ok(())
}

/// Checks a rule.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn intention(intention: &Intention) -> Result<(), Invalid> {
    id("rule", &intention.id)?;
    intention.source.validate()?;
    if &*intention.service != ANY_SERVICE {
        label("service name", &intention.service)?;
    }
    if let Some(scheme) = &intention.scheme {
        self::scheme(scheme)?;
    }
    text("note", &intention.note)?;
    if let Some(origin) = &intention.origin {
        text("file", &origin.file)?;
    }
    if intention.meta.len() > MAX_META {
        return Err(Invalid::new("meta", &intention.id, format!("at most {MAX_META} labels are kept")));
    }
    intention.meta.iter().try_for_each(|(key, value)| text("label", key).and_then(|()| text("label", value)))
}

/// Checks a URI's scheme (RFC 3986 section 3.1), in lower case, 32 characters at most.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn scheme(scheme: &str) -> Result<(), Invalid> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    let is_fine = scheme.len() <= 32 && scheme.starts_with(|c: char| c.is_ascii_lowercase());
    match is_fine && scheme.chars().all(is_plain) {
        true => Ok(()),
        false => {
            Err(Invalid::new("scheme", scheme, "it is a word of lower case letters and digits, like tls"))
        }
    }
}

/// Checks a redirection.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn redirection(redirection: &Redirection) -> Result<(), Invalid> {
    let broken = |rule: &str| Err(Invalid::new("redirection", &redirection.name, rule));
    label("service name", &redirection.name)?;
    text("note", &redirection.note)?;
    if let Some(origin) = &redirection.origin {
        text("file", &origin.file)?;
    }
    let stays = |to: &Destination| to.to.eq_ignore_ascii_case(&redirection.name);
    match &redirection.to[..] {
        [] => return broken("it leads nowhere"),
        [one] if stays(one) => return broken("it leads to itself"),
        many if many.len() > MAX_DESTINATIONS => return broken("it leads to more than 16 places"),
        _ => {}
    }
    for destination in &redirection.to {
        if destination.weight == 0 {
            return broken("a weight is a number from 1");
        }
        match destination.to.split_once("://") {
            None => label("service name", &destination.to)?,
            Some((scheme, rest)) => {
                self::scheme(scheme)?;
                text("URI", rest)?;
                if rest.is_empty() || rest.chars().any(|c| c.is_control() || c == ' ') {
                    return Err(Invalid::new("URI", &destination.to, "it is no URI"));
                }
            }
        }
    }
    Ok(())
}

/// Checks an address: an IP address or a host name.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn address(what: &'static str, value: &str) -> Result<(), Invalid> {
    let host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if value.parse::<std::net::IpAddr>().is_ok() {
        return Ok(());
    }
    if !value.is_empty() && value.len() <= 253 && value.chars().all(host) {
        return Ok(());
    }
    Err(Invalid::new(what, value, "it is neither an IP address nor a host name"))
}

pub(crate) fn text(what: &'static str, value: &str) -> Result<(), Invalid> {
    if value.len() > MAX_TEXT {
        return Err(Invalid::new(what, value, format!("it is longer than {MAX_TEXT} bytes")));
    }
    Ok(())
}

/// Checks the addresses of a mesh: 1 to 8, each `host:port` with an IP address in brackets where it has colons.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn mesh_addresses(addresses: &[std::sync::Arc<str>]) -> Result<(), Invalid> {
    if addresses.len() > MAX_MESH_ADDRESSES {
        let count = addresses.len().to_string();
        return Err(Invalid::new("mesh addresses", &count, format!("at most {MAX_MESH_ADDRESSES} are kept")));
    }
    addresses.iter().try_for_each(|text| {
        let broken = || Invalid::new("mesh address", text, "it is not host:port");
        let (host, port) = text.rsplit_once(':').ok_or_else(broken)?;
        port.parse::<u16>().map_err(|_| broken())?;
        match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().map(drop).map_err(|_| broken()),
            None => address("mesh address", host),
        }
    })
}

/// Checks who wishes to join.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn candidate(candidate: &Candidate) -> Result<(), Invalid> {
    node_name(&candidate.name)?;
    mesh_addresses(&candidate.addresses)
}

/// Checks that a certificate has a size that certificates have; nobody looks inside here.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn certificate(der: &[u8]) -> Result<(), Invalid> {
    match der.len() {
        1..=MAX_CERTIFICATE => Ok(()),
        length => Err(Invalid::new(
            "certificate",
            &format!("{length} bytes"),
            format!("it needs 1 to {MAX_CERTIFICATE} bytes"),
        )),
    }
}

/// Checks a key: 1 to 512 bytes, no control characters.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn key(value: &str) -> Result<(), Invalid> {
    if value.is_empty() || value.len() > MAX_KEY {
        return Err(Invalid::new("key", value, format!("it needs 1 to {MAX_KEY} bytes")));
    }
    if value.chars().any(char::is_control) {
        return Err(Invalid::new("key", value, "control characters are not allowed"));
    }
    Ok(())
}

/// Checks a key with its value.
///
/// # Errors
/// [`Invalid`] with the rule that is broken.
pub fn pair(name: &str, value: &[u8]) -> Result<(), Invalid> {
    key(name)?;
    if value.len() > MAX_VALUE {
        let rule = format!("it is larger than {MAX_VALUE} bytes");
        return Err(Invalid::new("value of key", name, rule));
    }
    Ok(())
}

/// Checks a whole registration.
///
/// # Errors
/// The first [`Invalid`] found.
pub fn registration(register: &Register) -> Result<(), Invalid> {
    if let Some(node) = &register.node {
        // Whoever only wants the node to be there may not know where it is.
        if !node.only_if_absent || !node.def.address.is_empty() {
            address("node address", &node.def.address)?;
        }
        node_def(&node.def)?;
        if node.def.name != register.on {
            return Err(Invalid::new("node name", &node.def.name, "instance and checks name another node"));
        }
    }
    if let Some(instance) = &register.instance {
        instance_def(&instance.def)?;
    }
    register.checks.iter().try_for_each(|check| check_def(&check.def))
}

fn node_def(def: &NodeDef) -> Result<(), Invalid> {
    node_name(&def.name)?;
    labels(&def.meta)
}

fn instance_def(def: &InstanceDef) -> Result<(), Invalid> {
    label("service name", &def.service)?;
    id("service id", &def.id)?;
    if !def.address.is_empty() {
        address("service address", &def.address)?;
    }
    if def.tags.len() > MAX_TAGS {
        return Err(Invalid::new(
            "tags",
            &def.tags.len().to_string(),
            format!("at most {MAX_TAGS} are kept"),
        ));
    }
    def.tags.iter().try_for_each(|tag| text("tag", tag))?;
    if let Some(at) = &def.locality {
        text("region", &at.region)?;
        text("zone", &at.zone)?;
    }
    labels(&def.meta)
}

fn labels(meta: &crate::labels::Labels) -> Result<(), Invalid> {
    if meta.len() > MAX_META {
        return Err(Invalid::new("meta", &meta.len().to_string(), format!("at most {MAX_META} are kept")));
    }
    for (name, value) in meta {
        if name.is_empty() || name.len() > 128 {
            return Err(Invalid::new("meta key", name, "it needs 1 to 128 characters"));
        }
        text("meta value", value)?;
    }
    Ok(())
}

fn check_def(def: &CheckDef) -> Result<(), Invalid> {
    id("check id", &def.id)?;
    if &*def.id == LIVENESS_CHECK && !def.service_id.is_empty() {
        return Err(Invalid::new(
            "check id",
            &def.id,
            "it is the check of a node's life, and judges no instance",
        ));
    }
    text("check name", &def.name)?;
    text("check notes", &def.notes)?;
    if def.definition.as_ref().is_some_and(|definition| definition.len() > MAX_DEFINITION) {
        return Err(Invalid::new(
            "definition of check",
            &def.id,
            format!("it is longer than {MAX_DEFINITION} bytes"),
        ));
    }
    if matches!(def.probe, Probe::Ttl { ttl_ms: 0 }) {
        return Err(Invalid::new("check TTL", "0", "it must be longer than zero"));
    }
    match def.probe.cadence() {
        Some(Cadence { interval_ms, .. }) if *interval_ms < 100 => {
            Err(Invalid::new("check interval", &format!("{interval_ms} ms"), "it must be 100 ms or more"))
        }
        _ => Ok(()),
    }
}
