//! TSIG keys as `tsig-keygen` prints them and as `named.conf` and nsupdate read them.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::tsig::{Algorithm, Key, KeyName};

/// Longest file that is read, in bytes.
const MAX_FILE: usize = 4096;

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file.
    #[error("read the key in {}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// What is in it. The text does not repeat what it read.
    #[error("not a key like `key \"name\" {{ algorithm hmac-sha256; secret \"…\"; }};`: {0}")]
    Form(&'static str),
}

/// Reads a key file.
///
/// # Errors
/// [`KeyError`].
pub fn read_key(path: &Path) -> Result<Arc<Key>, KeyError> {
    let text =
        std::fs::read_to_string(path).map_err(|cause| KeyError::File { path: path.to_owned(), cause })?;
    parse_key(&text)
}

/// Reads the text of one.
///
/// # Errors
/// [`KeyError::Form`].
pub fn parse_key(text: &str) -> Result<Arc<Key>, KeyError> {
    if text.len() > MAX_FILE {
        return Err(KeyError::Form("it is too long"));
    }
    let spaced = text.replace(['{', '}', ';', '"'], " ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let after = |word: &str| {
        let at = words.iter().position(|one| *one == word)?;
        words.get(at + 1).copied()
    };
    let name = after("key").ok_or(KeyError::Form("the name is missing"))?;
    let algorithm = match after("algorithm").ok_or(KeyError::Form("the algorithm is missing"))? {
        "hmac-sha256" => Algorithm::Sha256,
        "hmac-sha384" => Algorithm::Sha384,
        "hmac-sha512" => Algorithm::Sha512,
        _ => return Err(KeyError::Form("the algorithm is none of hmac-sha256, hmac-sha384, hmac-sha512")),
    };
    let secret = after("secret").ok_or(KeyError::Form("the secret is missing"))?;
    let secret = STANDARD.decode(secret).map_err(|_| KeyError::Form("the secret is not base64"))?;
    let name = KeyName::from_str(name).map_err(|_| KeyError::Form("the name is no domain name"))?;
    Key::new(algorithm, &secret, name, None, None)
        .map(Arc::new)
        .map_err(|_| KeyError::Form("it cannot be used"))
}

#[cfg(test)]
mod tests {
    use super::parse_key;

    #[test]
    fn what_tsig_keygen_prints_is_read() {
        let text =
            "key \"ddns-key\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0LXNlY3JldC1zZWNyZXQ=\";\n};\n";
        assert_eq!(parse_key(text).unwrap().name().to_string(), "ddns-key");
        for broken in [
            "",
            "key",
            "key k { algorithm hmac-md5; secret \"aaaa\"; };",
            "key k { algorithm hmac-sha256; };",
            "key k { algorithm hmac-sha256; secret \"***\"; };",
        ] {
            let error = parse_key(broken).unwrap_err().to_string();
            assert!(!error.contains("***"), "{error}");
        }
    }
}
