//! Registrator's names: `SERVICE_<KEY>` for all ports of a container, `SERVICE_<PORT>_<KEY>` for one of them, which
//! counts more. They stand in the environment or among the labels; a label counts more than the environment.

use std::collections::BTreeMap;

/// What a container says of its ports. Keys are in lower case, without `service_` and the port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    of_all: BTreeMap<String, String>,
    of_one: BTreeMap<u16, BTreeMap<String, String>>,
}

const PREFIX: &str = "SERVICE_";

impl Said {
    /// Reads names and values; what does not begin with the prefix is somebody else's.
    pub fn read<'t>(pairs: impl IntoIterator<Item = (&'t str, &'t str)>) -> Said {
        let mut said = Said::default();
        for (name, value) in pairs {
            let Some(rest) = name.get(..PREFIX.len()).filter(|start| start.eq_ignore_ascii_case(PREFIX))
            else {
                continue;
            };
            let key = name[rest.len()..].to_ascii_lowercase();
            match key.split_once('_').and_then(|(port, key)| Some((port.parse().ok()?, key))) {
                Some((port, key)) => {
                    said.of_one.entry(port).or_default().insert(key.to_owned(), value.to_owned());
                }
                None => {
                    said.of_all.insert(key, value.to_owned());
                }
            }
        }
        said
    }

    /// What is said of one port, by key.
    pub fn of(&self, port: u16) -> BTreeMap<&str, &str> {
        let own = self.of_one.get(&port).into_iter().flatten();
        self.of_all.iter().chain(own).map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    /// True when a key is said of this very port.
    pub fn is_of(&self, port: u16, key: &str) -> bool {
        self.of_one.get(&port).is_some_and(|own| own.contains_key(key))
    }

    /// Ports of which something is said by their number.
    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.of_one.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn what_is_said_of_a_port_counts_more() {
        let said = Said::read([
            ("PATH", "/bin"),
            ("SERVICE_NAME", "web"),
            ("service_8080_name", "admin"),
            ("SERVICE_TAGS", "a,b"),
            ("SERVICE_8080_CHECK_HTTP", "/up"),
            ("SERVICE_99999_NAME", "not a port, so a key"),
            ("SERVICE_", ""),
            ("Ä", "not on a boundary"),
        ]);
        assert_eq!(said.of(80)["name"], "web");
        assert_eq!(said.of(8080)["name"], "admin");
        assert_eq!(said.of(8080)["tags"], "a,b");
        assert_eq!(said.of(8080)["check_http"], "/up");
        assert!(!said.of(80).contains_key("check_http"));
        assert!(said.is_of(8080, "name") && !said.is_of(80, "name"));
        assert_eq!(said.ports().collect::<Vec<_>>(), [8080]);
        assert_eq!(Said::read([("HOME", "/")]), Said::default());
    }
}
