//! The web page: files that are part of the binary, and a browser that asks the API like any other client.
//!
//! There is no path of its own behind it, so that it can show nobody what the API would not. It changes nothing.

use http::StatusCode;
use http::header::HeaderValue;

use crate::Api;
use crate::http::{Answer, Failure, Parts};

/// Where the page is.
const HOME: &str = "/ui/";

/// What a browser may do for it: run and fetch what this very listener serves, nothing else, in no frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// Name, type and bytes.
type File = (&'static str, &'static str, &'static [u8]);

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

const FILES: &[File] = &[
    ("", HTML, include_bytes!("../ui/index.html")),
    ("style.css", "text/css; charset=utf-8", include_bytes!("../ui/style.css")),
    ("icon.svg", "image/svg+xml", include_bytes!("../ui/icon.svg")),
    ("main.js", SCRIPT, include_bytes!("../ui/main.js")),
    ("api.js", SCRIPT, include_bytes!("../ui/api.js")),
    ("dom.js", SCRIPT, include_bytes!("../ui/dom.js")),
    ("services.js", SCRIPT, include_bytes!("../ui/services.js")),
    ("nodes.js", SCRIPT, include_bytes!("../ui/nodes.js")),
    ("rules.js", SCRIPT, include_bytes!("../ui/rules.js")),
    ("exposures.js", SCRIPT, include_bytes!("../ui/exposures.js")),
    ("keys.js", SCRIPT, include_bytes!("../ui/keys.js")),
];

/// `GET /` and `GET /ui`: to the page, as Consul's agent does.
pub(crate) fn lead(_: &Api, _: &Parts) -> Result<Answer, Failure> {
    Ok(Answer::empty().with_status(StatusCode::FOUND).with_field("location", HOME))
}

/// `GET /ui/*file`.
///
/// # Errors
/// 404.
pub(crate) fn file(_: &Api, parts: &Parts) -> Result<Answer, Failure> {
    let found = FILES.iter().find(|(name, ..)| *name == parts.rest);
    let (_, content_type, bytes) =
        found.ok_or_else(|| Failure::not_found(format!("the page has no file {:?}", parts.rest)))?;
    Ok(Answer::text(*bytes)
        .with_type(content_type)
        .with_field("content-security-policy", POLICY)
        .with_field("x-content-type-options", "nosniff")
        .with_field("referrer-policy", "no-referrer")
        .with_field("cache-control", "no-cache"))
}

#[cfg(test)]
mod tests {
    use super::FILES;

    #[test]
    fn what_the_files_name_is_there() {
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).expect("text");
            let named = text.split('"').filter(|word| word.ends_with(".js") || word.ends_with(".css"));
            for file in named.map(|word| word.trim_start_matches("./")) {
                assert!(FILES.iter().any(|(other, ..)| *other == file), "{name} names {file:?}");
            }
        }
    }

    #[test]
    fn nothing_of_the_registry_is_ever_read_as_markup() {
        for (name, _, bytes) in FILES {
            let text = std::str::from_utf8(bytes).expect("text");
            for door in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc"]
            {
                assert!(!text.contains(door), "{name} uses {door}");
            }
        }
    }
}
