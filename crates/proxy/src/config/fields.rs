//! Header fields in a configuration, checked when they are read.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use serde::{Deserialize, Serialize};

/// Fields that say where a message ends or what becomes of a connection: nobody else's business.
const OURS: [HeaderName; 8] = [
    CONNECTION,
    CONTENT_LENGTH,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// The name of a field that may be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldName(pub(crate) HeaderName);

/// The value of a field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FieldValue(pub(crate) HeaderValue);

impl FieldName {
    pub(crate) fn host() -> FieldName {
        FieldName(HOST)
    }
}

impl Ord for FieldName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.as_str().cmp(other.0.as_str())
    }
}

impl PartialOrd for FieldName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl TryFrom<String> for FieldName {
    type Error = String;

    fn try_from(text: String) -> Result<FieldName, String> {
        match HeaderName::try_from(&text) {
            Err(_) => Err(format!("\"{text}\" is no field name")),
            Ok(name) if OURS.contains(&name) => Err(format!("the field \"{text}\" is the proxy's own")),
            Ok(name) => Ok(FieldName(name)),
        }
    }
}

impl From<FieldName> for String {
    fn from(name: FieldName) -> String {
        name.0.as_str().to_owned()
    }
}

impl TryFrom<String> for FieldValue {
    type Error = String;

    fn try_from(text: String) -> Result<FieldValue, String> {
        let value = HeaderValue::from_str(&text).map_err(|_| format!("{text:?} is no field value"))?;
        Ok(FieldValue(value))
    }
}

impl From<FieldValue> for String {
    fn from(value: FieldValue) -> String {
        value.0.to_str().unwrap_or_default().to_owned()
    }
}

/// Changes to the fields of a message, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FieldRules {
    /// Fields to take off.
    pub remove: Vec<FieldName>,
    /// Fields to have in place of any of the same name.
    pub set: BTreeMap<FieldName, FieldValue>,
    /// Fields to have beside others of the same name.
    pub add: BTreeMap<FieldName, FieldValue>,
}

impl FieldRules {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &FieldName> {
        self.remove.iter().chain(self.set.keys()).chain(self.add.keys())
    }

    /// Carries them out.
    pub(crate) fn apply(&self, headers: &mut http::HeaderMap) {
        for FieldName(name) in &self.remove {
            headers.remove(name);
        }
        for (FieldName(name), FieldValue(value)) in &self.set {
            headers.insert(name.clone(), value.clone());
        }
        for (FieldName(name), FieldValue(value)) in &self.add {
            headers.append(name.clone(), value.clone());
        }
    }
}

/// What requests may be alike in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum By {
    /// The client's address; of IPv6 the first 64 bits.
    #[default]
    Address,
    /// All of the route.
    Route,
    /// The value of a field.
    Header(FieldName),
    /// The value of a cookie.
    Cookie(String),
}

impl TryFrom<String> for By {
    type Error = String;

    fn try_from(text: String) -> Result<By, String> {
        match text.split_once(':') {
            None if text == "address" => Ok(By::Address),
            None if text == "route" => Ok(By::Route),
            Some(("header", name)) => Ok(By::Header(FieldName::try_from(name.to_owned())?)),
            Some(("cookie", name)) if !name.is_empty() => Ok(By::Cookie(name.to_owned())),
            _ => {
                Err(format!("\"{text}\" is none of \"address\", \"route\", \"header:NAME\", \"cookie:NAME\""))
            }
        }
    }
}

impl From<By> for String {
    fn from(by: By) -> String {
        match by {
            By::Address => "address".into(),
            By::Route => "route".into(),
            By::Header(FieldName(name)) => format!("header:{name}"),
            By::Cookie(name) => format!("cookie:{name}"),
        }
    }
}
