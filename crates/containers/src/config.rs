//! `[containers]`

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Whether and how containers are registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Off unless said: the engine's socket is worth as much as root.
    pub enabled: bool,
    /// Socket of the engine. Unset: the first of Docker's, Podman's, and Podman's of this user that there is.
    pub socket: Option<PathBuf>,
    /// Names of services that labels may ask for; `*` stands for any characters.
    pub services: Vec<String>,
    /// Register the ports that a container exposes at its own address, instead of those it publishes on this host.
    pub internal: bool,
    /// How long what was registered stays when the engine does not answer.
    #[serde(with = "state::units::duration")]
    pub hold: Duration,
    /// The list is asked for this often even when no event hints at a change.
    #[serde(with = "state::units::duration")]
    pub refresh: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: false,
            socket: None,
            services: vec!["*".to_owned()],
            internal: false,
            hold: Duration::from_secs(600),
            refresh: Duration::from_secs(60),
        }
    }
}

impl Config {
    /// Where the engine listens.
    pub fn socket(&self) -> PathBuf {
        let of_user = std::env::var_os("XDG_RUNTIME_DIR")
            .map(|folder| PathBuf::from(folder).join("podman/podman.sock"));
        let usual =
            ["/run/docker.sock", "/run/podman/podman.sock"].into_iter().map(PathBuf::from).chain(of_user);
        let found = self.socket.clone().or_else(|| usual.into_iter().find(|path| path.exists()));
        found.unwrap_or_else(|| "/run/docker.sock".into())
    }

    /// True when labels may ask for a service of this name.
    pub fn allows(&self, service: &str) -> bool {
        self.services.iter().any(|pattern| matches(pattern.as_bytes(), service.as_bytes()))
    }
}

/// Whether `text` is what `pattern` describes. In one pass: a star takes as little as will do, and takes more when
/// what follows it fails.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star = None;
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at + 1, from));
            at += 1;
        } else if pattern.get(at).is_some_and(|byte| byte.eq_ignore_ascii_case(&text[from])) {
            at += 1;
            from += 1;
        } else if let Some((after, taken)) = star {
            at = after;
            from = taken + 1;
            star = Some((after, taken + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_any_characters() {
        for (pattern, text, fits) in [
            ("*", "web", true),
            ("*", "", true),
            ("web", "Web", true),
            ("web", "web-1", false),
            ("web-*", "web-1", true),
            ("web-*", "web", false),
            ("*-db", "shop-db", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("", "web", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), fits, "{pattern} {text}");
        }
    }
}
