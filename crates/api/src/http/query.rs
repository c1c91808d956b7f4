//! The query string: pairs in order, percent-decoded, `+` for a space.

use std::borrow::Cow;

/// Most pairs that are read.
const MAX_PAIRS: usize = 128;

/// Why a query string or a path is not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    #[error("a percent sign must be followed by two hexadecimal digits, and the bytes must be UTF-8")]
    Escape,
    #[error("there are more than {MAX_PAIRS} query parameters")]
    TooMany,
}

/// Query parameters as the client gave them.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Result<Query, Malformed> {
        let mut pairs = Vec::new();
        for part in text.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
            if pairs.len() == MAX_PAIRS {
                return Err(Malformed::TooMany);
            }
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            pairs.push((form_decode(name)?, form_decode(value)?));
        }
        Ok(Query(pairs))
    }

    /// First value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// First value unless it is empty.
    pub(crate) fn given(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// True when it is there, with any value: Consul counts flags by presence.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Every value of a repeatable parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Every pair, in the order given.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

fn form_decode(text: &str) -> Result<String, Malformed> {
    if !text.contains('+') {
        return percent_decode(text).map(Cow::into_owned);
    }
    percent_decode(&text.replace('+', " ")).map(Cow::into_owned)
}

/// Decodes `%xx`; the result must be UTF-8.
pub(crate) fn percent_decode(text: &str) -> Result<Cow<'_, str>, Malformed> {
    if !text.contains('%') {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let [high, low, after @ ..] = rest else { return Err(Malformed::Escape) };
        bytes.push(hex(*high)? << 4 | hex(*low)?);
        rest = after;
    }
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Malformed::Escape)
}

fn hex(digit: u8) -> Result<u8, Malformed> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or(Malformed::Escape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded_and_kept_in_order() {
        let query = Query::parse(Some("tag=a&tag=b%20c&stale&wait=1m&x=1+2&")).expect("reads");
        assert_eq!(query.all("tag").collect::<Vec<_>>(), ["a", "b c"]);
        assert!(query.has("stale") && !query.has("consistent"));
        assert_eq!(query.given("stale"), None);
        assert_eq!(query.get("x"), Some("1 2"));
    }

    #[test]
    fn broken_escapes_are_refused() {
        for bad in ["%", "%4", "%zz", "%ff", "a%2"] {
            assert_eq!(percent_decode(bad), Err(Malformed::Escape), "{bad}");
        }
        assert_eq!(percent_decode("a%2Fb").as_deref(), Ok("a/b"));
    }
}
