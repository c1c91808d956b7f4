//! Keys, and the file that they stand in.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::{SecureRandom as _, SystemRandom};

/// Fewest bytes of a key: 128 bits. A shorter one could be found by trying.
pub const SHORTEST: usize = 16;
/// Bytes of a key that is made here.
const MADE: usize = 32;
const LONGEST: usize = 64;
const LONGEST_FILE: u64 = 1 << 20;

/// A key. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Key(Box<[u8]>);

/// What is no key, or no file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Text that is no key.
    #[error(
        "this is no pre-shared key: one is written as {} to {} hexadecimal digits; `portolan psk create` makes one",
        SHORTEST * 2,
        LONGEST * 2
    )]
    Text,
    /// Text that is nobody's identity.
    #[error("\"{0}\" is no identity of a key: letters, digits, `.`, `-` and `_`, 128 of them at most")]
    Identity(String),
    /// A line that is no `identity:key`.
    #[error("line {line} of {}: {cause}", path.display())]
    Line {
        /// File.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: Box<KeyError>,
    },
    /// The file lets others read it.
    #[error("{} can be read by others than its owner: `chmod 600` it", .0.display())]
    Open(PathBuf),
    /// Nobody's key was asked for.
    #[error("{} has no key of \"{identity}\"", path.display())]
    Absent {
        /// File.
        path: PathBuf,
        /// Whose key.
        identity: String,
    },
    /// The identity has a key already.
    #[error("{} has a key of \"{identity}\" already", path.display())]
    Present {
        /// File.
        path: PathBuf,
        /// Whose key.
        identity: String,
    },
    /// The file cannot be read or written.
    #[error("{what} {}", path.display())]
    File {
        /// What was attempted.
        what: &'static str,
        /// File.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

impl Key {
    /// A new key of 256 bits.
    ///
    /// # Errors
    /// [`KeyError::Random`].
    pub fn generate() -> Result<Key, KeyError> {
        let mut bytes = [0; MADE];
        SystemRandom::new().fill(&mut bytes).map_err(|_| KeyError::Random)?;
        Ok(Key(bytes.into()))
    }

    /// Reads hexadecimal digits.
    ///
    /// # Errors
    /// [`KeyError::Text`], which does not repeat them.
    pub fn parse(text: &str) -> Result<Key, KeyError> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) || !(SHORTEST * 2..=LONGEST * 2).contains(&digits.len()) {
            return Err(KeyError::Text);
        }
        let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
        let bytes = digits.chunks_exact(2).map(|pair| Some(value(pair[0])? << 4 | value(pair[1])?));
        bytes.collect::<Option<Box<[u8]>>>().map(Key).ok_or(KeyError::Text)
    }

    /// The key in hexadecimal digits, for the one who is to have it.
    pub fn reveal(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// True for what can stand before a key in a file, and before a host in a URI.
pub fn is_identity(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(plain)
}

/// Keys by identity, as a file has them: lines of `identity:key`, as GnuTLS and OpenSSL's tools write them.
#[derive(Debug, Clone, Default)]
pub struct Keys {
    path: PathBuf,
    by_identity: BTreeMap<Arc<str>, Key>,
}

impl Keys {
    /// Reads a file that nobody but its owner may read.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Keys, KeyError> {
        let failed =
            |cause| KeyError::File { what: "read the pre-shared keys in", path: path.to_owned(), cause };
        let found = std::fs::metadata(path).map_err(failed)?;
        if found.mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
        if found.len() > LONGEST_FILE {
            return Err(failed(io::ErrorKind::FileTooLarge.into()));
        }
        Keys::parse(path, &std::fs::read_to_string(path).map_err(failed)?)
    }

    pub(crate) fn parse(path: &Path, text: &str) -> Result<Keys, KeyError> {
        let mut by_identity = BTreeMap::new();
        for (line, written) in (1..).zip(text.lines()) {
            let written = written.trim();
            if written.is_empty() || written.starts_with('#') {
                continue;
            }
            let (identity, key) = pair(written).map_err(|cause| {
                let cause = Box::new(cause);
                KeyError::Line { path: path.to_owned(), line, cause }
            })?;
            by_identity.insert(identity, key);
        }
        Ok(Keys { path: path.to_owned(), by_identity })
    }

    /// The key of an identity.
    ///
    /// # Errors
    /// [`KeyError::Absent`].
    pub fn of(&self, identity: &str) -> Result<&Key, KeyError> {
        let absent = || KeyError::Absent { path: self.path.clone(), identity: identity.to_owned() };
        self.by_identity.get(identity).ok_or_else(absent)
    }

    pub(super) fn get(&self, identity: &str) -> Option<(&Arc<str>, &Key)> {
        self.by_identity.get_key_value(identity)
    }

    /// Writes a key behind those of a file, which is made where it is missing, for its owner alone.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn add(path: &Path, identity: &str, key: &Key) -> Result<(), KeyError> {
        if !is_identity(identity) {
            return Err(KeyError::Identity(identity.to_owned()));
        }
        match Keys::load(path) {
            Ok(keys) if keys.by_identity.contains_key(identity) => {
                return Err(KeyError::Present { path: path.to_owned(), identity: identity.to_owned() });
            }
            Err(KeyError::File { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => {}
            known => drop(known?),
        }
        let failed =
            |cause| KeyError::File { what: "write a pre-shared key to", path: path.to_owned(), cause };
        let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path);
        let mut file = file.map_err(failed)?;
        file.write_all(format!("{identity}:{}\n", key.reveal()).as_bytes()).map_err(failed)?;
        file.sync_all().map_err(failed)
    }
}

fn pair(line: &str) -> Result<(Arc<str>, Key), KeyError> {
    let (identity, key) = line.split_once(':').ok_or(KeyError::Text)?;
    if !is_identity(identity) {
        return Err(KeyError::Identity(identity.chars().take(128).collect()));
    }
    Ok((identity.into(), Key::parse(key)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_has_128_bits_at_least_and_is_not_shown() {
        let key = Key::generate().unwrap();
        assert_eq!(key.bytes().len() * 8, 256);
        assert_eq!(Key::parse(&key.reveal()).unwrap(), key);
        assert_ne!(Key::generate().unwrap(), key);
        assert_eq!(format!("{key:?}"), "Key(…)");
        let least = "00112233445566778899aabbccddeeff";
        assert!(Key::parse(least).is_ok());
        for bad in ["", "passwd", &least[..30], &least[..31], &least.replace('f', "g"), &"00".repeat(65)] {
            let said = Key::parse(bad).unwrap_err().to_string();
            assert!(
                said.contains("portolan psk create") && (bad.is_empty() || !said.contains(bad)),
                "{said}"
            );
        }
    }

    #[test]
    fn a_file_is_made_for_its_owner_and_refused_when_others_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys");
        let key = Key::generate().unwrap();
        Keys::add(&path, "authd", &key).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Keys::add(&path, "authd", &key), Err(KeyError::Present { .. })));
        Keys::add(&path, "pongd", &Key::generate().unwrap()).unwrap();
        let keys = Keys::load(&path).unwrap();
        assert_eq!(keys.of("authd").unwrap(), &key);
        assert!(keys.of("nobody").unwrap_err().to_string().contains("nobody"));
        assert!(Keys::add(&path, "a:b", &key).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(matches!(Keys::load(&path), Err(KeyError::Open(_))));
    }

    #[test]
    fn a_bad_line_is_named_without_what_stands_there() {
        let read = |text: &str| Keys::parse(Path::new("keys"), text);
        assert!(read("# a comment\n\nauthd:00112233445566778899aabbccddeeff\n").is_ok());
        let said = read("\nauthd:00112233\n").unwrap_err().to_string();
        assert!(said.starts_with("line 2 of keys") && !said.contains("00112233"), "{said}");
        assert!(read("au thd:00112233445566778899aabbccddeeff").is_err());
        assert!(read("authd").is_err());
    }
}
