//! One action and its answer: UPnP Device Architecture 1.1, section 3.1.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;

use super::description::{MAX_XML, Service, xml};
use crate::causes::chain;
use crate::http::Limits;
use crate::router::MapError;

/// Longest that a router may take; some write to flash before they answer.
const LIMIT: Duration = Duration::from_secs(5);
/// Longest value that is kept.
const MAX_VALUE: usize = 512;

/// Why an action was not carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The router said so: `errorCode` and `errorDescription`.
    Upnp(u32, String),
    /// It did not answer, or not in this language.
    Silent(String),
}

impl Fault {
    /// What it means; some codes mean more than no.
    pub(super) fn meaning(self, forbidden: &[u32], unable: &[u32]) -> MapError {
        match self {
            Fault::Silent(why) => MapError::Silent(why),
            Fault::Upnp(code, said) => {
                let said = format!("error {code} {said}");
                match code {
                    code if forbidden.contains(&code) => MapError::Forbidden(said),
                    code if unable.contains(&code) => MapError::Unable(said),
                    _ => MapError::Refused(said),
                }
            }
        }
    }
}

/// Values of an answer by their names.
pub type Values = BTreeMap<String, String>;

/// Asks a service to do something.
pub(super) async fn call(
    service: &Service,
    action: &str,
    arguments: &[(&str, &str)],
) -> Result<Values, Fault> {
    let silent = |why: String| Fault::Silent(format!("{action} at {}{}: {why}", service.base, service.path));
    let mut request = Request::new(Full::new(Bytes::from(envelope(service.kind, action, arguments))));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = service.path.parse().map_err(|_| silent("not a path".into()))?;
    let header = HeaderValue::from_str(&format!("\"{}#{action}\"", service.kind));
    let headers = request.headers_mut();
    headers.insert("soapaction", header.map_err(|error| silent(error.to_string()))?);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=\"utf-8\""));
    let limits = Limits { time: LIMIT, body: MAX_XML };
    let answer = service.base.send(request, limits).await.map_err(|error| silent(chain(&error)))?;
    let text = String::from_utf8_lossy(&answer.body);
    read(&text, action).map_err(|fault| match fault {
        Fault::Silent(why) => silent(format!("status {}, {why}", answer.status)),
        fault => fault,
    })
}

fn envelope(kind: &str, action: &str, arguments: &[(&str, &str)]) -> String {
    let mut body = String::new();
    for (name, value) in arguments {
        let _ = write!(body, "<{name}>{}</{name}>", escape(value));
    }
    format!(
        "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body>\
         <u:{action} xmlns:u=\"{kind}\">{body}</u:{action}></s:Body></s:Envelope>\r\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Reads the answer to an action, or the fault.
///
/// # Errors
/// [`Fault`].
pub fn read(text: &str, action: &str) -> Result<Values, Fault> {
    let document = xml(text).map_err(|why| Fault::Silent(format!("its answer is no XML: {why}")))?;
    let named = |name: &str| document.descendants().find(|node| node.tag_name().name() == name);
    let value = |node: roxmltree::Node<'_, '_>| {
        node.text().unwrap_or_default().trim().chars().take(MAX_VALUE).collect::<String>()
    };
    if let Some(code) = named("errorCode") {
        let said = named("errorDescription").map(value).unwrap_or_default();
        return match value(code).parse() {
            Ok(code) => Err(Fault::Upnp(code, said)),
            Err(_) => Err(Fault::Silent("a fault without a code".into())),
        };
    }
    let Some(answer) = named(&format!("{action}Response")) else {
        return Err(Fault::Silent(format!("its answer is none to {action}")));
    };
    let parts = answer.children().filter(roxmltree::Node::is_element).take(32);
    Ok(parts.map(|node| (node.tag_name().name().to_owned(), value(node))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_and_faults_are_told_apart() {
        let answer = "<s:Envelope xmlns:s=\"x\"><s:Body><u:GetExternalIPAddressResponse xmlns:u=\"y\">\
            <NewExternalIPAddress> 45.83.0.1 </NewExternalIPAddress></u:GetExternalIPAddressResponse></s:Body></s:Envelope>";
        assert_eq!(read(answer, "GetExternalIPAddress").unwrap()["NewExternalIPAddress"], "45.83.0.1");
        let fault = "<s:Envelope xmlns:s=\"x\"><s:Body><s:Fault><detail><UPnPError xmlns=\"z\"><errorCode>718</errorCode>\
            <errorDescription>ConflictInMappingEntry</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>";
        assert_eq!(read(fault, "AddPortMapping"), Err(Fault::Upnp(718, "ConflictInMappingEntry".into())));
        for bad in ["", "<a/>", "<html><body>404</body></html>", "<errorCode>x</errorCode>"] {
            assert!(matches!(read(bad, "AddPortMapping"), Err(Fault::Silent(_))), "{bad}");
        }
    }

    #[test]
    fn what_is_said_in_an_argument_stays_in_it() {
        let text = envelope("kind", "Do", &[("A", "</A><B>&\"")]);
        let document = xml(&text).unwrap();
        let argument = document.descendants().find(|node| node.tag_name().name() == "A").unwrap();
        assert_eq!(argument.text(), Some("</A><B>&\""));
    }
}
