//! Which node this is. Name and id are kept in the data directory: what was registered with a name stays
//! registered with it, whatever the host is called tomorrow.

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::daemon::file;

/// Name and id of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// Name, unique in the cluster.
    pub(crate) name: String,
    /// UUID (version 4), unique everywhere.
    pub(crate) id: String,
}

const FILE: &str = "node.json";

impl Identity {
    /// A node that is forgotten when it stops.
    pub(crate) fn passing(name: Option<&str>) -> anyhow::Result<Identity> {
        let name = name.map_or_else(host_name, str::to_owned);
        catalog::validate::node_name(&name)?;
        Ok(Identity { name, id: new_id()? })
    }

    /// The node that lives in `data_dir`, a new one if none does.
    pub(crate) fn load(data_dir: &Path, name: Option<&str>) -> anyhow::Result<Identity> {
        let path = data_dir.join(FILE);
        match fs::read(&path) {
            Ok(bytes) => {
                let known: Identity = serde_json::from_slice(&bytes)
                    .with_context(|| format!("read this node's identity from {}", path.display()))?;
                match name {
                    // A join that the cluster refused for the name leaves a directory in which nobody has lived.
                    Some(wanted) if wanted != known.name && !has_lived(data_dir) => {
                        catalog::validate::node_name(wanted)?;
                        let renamed = Identity { name: wanted.to_owned(), ..known };
                        renamed.save(&path)?;
                        Ok(renamed)
                    }
                    _ => known.checked(name, data_dir),
                }
            }
            Err(cause) if cause.kind() == ErrorKind::NotFound => {
                let new = Identity::passing(name)?;
                new.save(&path)?;
                Ok(new)
            }
            Err(cause) => Err(cause).with_context(|| format!("read {}", path.display())),
        }
    }

    /// Refuses a rename: instances and keys of the old name would be left behind without an owner.
    fn checked(self, wanted: Option<&str>, data_dir: &Path) -> anyhow::Result<Identity> {
        match wanted {
            Some(wanted) if wanted != self.name => bail!(
                "the data in {} belongs to node \"{}\", and the configuration names this node \"{wanted}\": \
                 take `node.name` out, or choose another --data-dir for the new node",
                data_dir.display(),
                self.name
            ),
            _ => Ok(self),
        }
    }

    fn save(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        file::replace(path, text.as_bytes())
            .with_context(|| format!("save this node's identity as {}", path.display()))
    }
}

/// Whether a node has kept anything in `data_dir` but its name and keys.
fn has_lived(data_dir: &Path) -> bool {
    ["log", "order", "cluster/cluster.json"].iter().any(|kept| data_dir.join(kept).exists())
}

/// Finds out whether a node could keep its state in `data_dir`, without leaving anything behind.
pub(crate) fn check(data_dir: &Path) -> anyhow::Result<()> {
    let existing = data_dir.ancestors().find(|folder| folder.exists()).unwrap_or(data_dir);
    let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(existing, access).with_context(|| {
        format!("write to {} for the data directory {}", existing.display(), data_dir.display())
    })?;
    let path = data_dir.join(FILE);
    if path.exists() {
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice::<Identity>(&bytes)
            .with_context(|| format!("read this node's identity from {}", path.display()))?;
    }
    Ok(())
}

/// The host's name made fit for DNS; `node` when nothing of it is.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let fit = |label: &str| {
        let fit: String = label.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        fit.trim_matches('-').chars().take(63).collect::<String>()
    };
    let labels: Vec<_> = name.split('.').map(fit).filter(|label| !label.is_empty()).collect();
    let name = labels.join(".");
    if catalog::validate::node_name(&name).is_ok() { name } else { "node".to_owned() }
}

/// A random UUID (RFC 9562 section 5.4).
fn new_id() -> anyhow::Result<String> {
    let mut bytes = [0u8; 16];
    fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("read /dev/urandom for a node id")?;
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_who_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().to_owned();
        let first = Identity::load(&data, Some("alpha")).unwrap();
        assert_eq!(first.id.len(), 36);
        assert_eq!(Identity::load(&data, None).unwrap(), first);
        assert_eq!(Identity::load(&data, Some("alpha")).unwrap(), first);
        let renamed = Identity::load(&data, Some("gamma")).unwrap();
        assert_eq!((&*renamed.name, &renamed.id), ("gamma", &first.id), "nobody has lived there yet");
        Identity::load(&data, Some("alpha")).unwrap();
        fs::create_dir(data.join("log")).unwrap();
        let error = Identity::load(&data, Some("beta")).unwrap_err().to_string();
        assert!(error.contains("belongs to node \"alpha\""), "{error}");
    }

    #[test]
    fn a_name_that_dns_cannot_carry_is_refused() {
        assert!(Identity::passing(Some("a_b c")).is_err());
        assert!(catalog::validate::node_name(&host_name()).is_ok());
    }
}
