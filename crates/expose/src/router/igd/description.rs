//! What a router says of itself: UPnP Device Architecture 1.1, section 2.3.

use http::Uri;
use roxmltree::{Document, ParsingOptions};

use crate::http::Base;

/// Largest description or answer that is read, in bytes, and most nodes of its tree.
pub(super) const MAX_XML: usize = 256 << 10;
const MAX_NODES: u32 = 20_000;

/// The service that makes mappings.
#[derive(Debug, Clone)]
pub struct Service {
    /// `urn:schemas-upnp-org:service:WANIPConnection:2` or a sibling.
    pub kind: &'static str,
    /// Host and port to ask.
    pub base: Base,
    /// Path to post to.
    pub path: String,
}

/// By preference.
const KINDS: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// Reads XML within limits: no document types, so no entities of its own.
///
/// # Errors
/// Why it is none.
pub(super) fn xml(text: &str) -> Result<Document<'_>, String> {
    if text.len() > MAX_XML {
        return Err(format!("{} bytes of XML are too many", text.len()));
    }
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    Document::parse_with_options(text, options).map_err(|error| error.to_string())
}

/// The one that opens pinholes.
const PINHOLES: &str = "urn:schemas-upnp-org:service:WANIPv6FirewallControl:1";

/// Finds the service that opens pinholes, if there is one.
///
/// # Errors
/// Why the description cannot be used.
pub fn pinholes(text: &str, location: &str) -> Result<Vec<Service>, String> {
    of_kinds(&[PINHOLES], text, location)
}

/// Finds the services that make mappings, the preferred first. A router whose line uses PPP describes an
/// unused IP connection beside it, so there may be several.
///
/// # Errors
/// Why the description cannot be used.
pub fn services(text: &str, location: &str) -> Result<Vec<Service>, String> {
    let found = of_kinds(&KINDS, text, location)?;
    if found.is_empty() { Err("it describes no service that makes mappings".into()) } else { Ok(found) }
}

fn of_kinds(kinds: &[&'static str], text: &str, location: &str) -> Result<Vec<Service>, String> {
    let document = xml(text)?;
    let origin = location.parse::<Uri>().map_err(|error| format!("its address \"{location}\": {error}"))?;
    let child = |node: roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.tag_name().name() == name);
        found.and_then(|found| found.text()).map(|text| text.trim().to_owned())
    };
    let mut found = Vec::new();
    for kind in kinds.iter().copied() {
        let here = |node: &roxmltree::Node<'_, '_>| {
            node.tag_name().name() == "service" && child(*node, "serviceType").as_deref() == Some(kind)
        };
        for node in document.descendants().filter(here).take(4) {
            let Some(control) = child(node, "controlURL") else { continue };
            let (base, path) = resolve(&origin, &control)?;
            found.push(Service { kind, base, path });
        }
    }
    Ok(found)
}

/// Where to post to. Always the host that answered; only its port may be another one.
fn resolve(origin: &Uri, control: &str) -> Result<(Base, String), String> {
    let wrong = |why: &str| format!("its control address \"{control}\" {why}");
    let host = origin.host().ok_or_else(|| wrong("has no origin"))?;
    let absolute = control.contains("://");
    let uri = if absolute {
        let uri: Uri = control.parse().map_err(|_| wrong("cannot be read"))?;
        if uri.host() != Some(host) || uri.scheme_str() != Some("http") {
            return Err(wrong("leads to somebody else"));
        }
        uri
    } else {
        let slash = if control.starts_with('/') { "" } else { "/" };
        format!("{slash}{control}").parse().map_err(|_| wrong("cannot be read"))?
    };
    let port = if absolute { uri.port_u16() } else { origin.port_u16() }.unwrap_or(80);
    let base = Base::parse(&format!("http://{host}:{port}")).map_err(|error| wrong(&error.to_string()))?;
    Ok((base, uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(kind: &str, control: &str) -> String {
        format!(
            "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device><deviceList><device><serviceList>\
             <service><serviceType>{kind}</serviceType><controlURL>{control}</controlURL></service>\
             </serviceList></device></deviceList></device></root>"
        )
    }

    #[test]
    fn the_control_address_is_found_at_the_same_host() {
        let at = "http://192.168.77.1:5000/root.xml";
        for (control, expected) in [
            ("/ctl/IPConn", "http://192.168.77.1:5000 /ctl/IPConn"),
            ("ctl?x=1", "http://192.168.77.1:5000 /ctl?x=1"),
            ("http://192.168.77.1:49152/ctl", "http://192.168.77.1:49152 /ctl"),
        ] {
            let services = services(&describe(KINDS[1], control), at).unwrap();
            assert_eq!(format!("{} {}", services[0].base, services[0].path), expected);
            assert_eq!(services[0].kind, KINDS[1]);
        }
        for control in ["http://192.168.77.9/ctl", "https://192.168.77.1/ctl", "http://[/"] {
            assert!(services(&describe(KINDS[0], control), at).is_err(), "{control}");
        }
    }

    #[test]
    fn what_is_too_much_or_too_clever_is_refused() {
        let at = "http://192.168.77.1/";
        let bomb = "<!DOCTYPE a [<!ENTITY x \"xxxxxxxx\">]><root>&x;</root>";
        for bad in [bomb, "<root>", "", "<root/>", &"<a>".repeat(100_000), &" ".repeat(1 << 20)] {
            assert!(services(bad, at).is_err());
        }
    }
}
