//! Settings of the broker.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use relay::tls::CertificateFiles;
use route::Principal;
use serde::{Deserialize, Serialize};
use sys::pass::Caller;

use crate::incoming::Incoming;
use crate::libipc::{Folder, Generation};

/// `[broker]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where programs ask. Unset: [`crate::default_socket`], unless another daemon has it; empty: nowhere.
    pub socket: Option<PathBuf>,
    /// Who may connect to the socket, as permissions of a file; what they may reach is for the rules.
    pub socket_mode: String,
    /// Users and groups with names of their own; the first that fits is it.
    pub identities: Vec<Identity>,
    /// Folders in which libipc's programs look for services, and for this broker.
    pub libipc: Libipc,
    /// How programs of other hosts come in.
    pub incoming: Incoming,
    /// Where names lead that nobody here knows, as a URI; the name is put behind it. Unset: nowhere.
    pub default_route: Option<String>,
    /// Authorities that servers of `tls` routes are verified by, in a PEM file. Unset: those of this host's system.
    pub tls_ca: Option<PathBuf>,
    /// A certificate of this host's: shown to servers of `tls` routes that ask for one, and to programs of other hosts
    /// that come in by TLS; for those who come with a key of `keys`, one is made where this is unset.
    pub certificate: Option<CertificateFiles>,
    /// Pre-shared keys of `tls` routes, as `portolan psk create` writes them; for URIs that name an identity without
    /// its key, and come from the configuration, a redirection, or a program of root's or of the daemon's own user.
    pub keys: Option<PathBuf>,
    /// Programs connected at a time, of all users.
    pub max_connections: usize,
    /// Of these, how many of one user.
    pub max_connections_per_user: usize,
    /// Connections of one user whose bytes the daemon moves.
    pub max_relayed_per_user: usize,
    /// Services that programs of one user offer.
    pub max_offers_per_user: usize,
    /// How long a program may leave a reply unread.
    #[serde(with = "state::units::duration")]
    pub reply_timeout: Duration,
}

/// `[broker.libipc]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Libipc {
    /// Folder of the generation in C, where `network` is opened. Its own default is `/run/ipc`.
    pub c: Option<PathBuf>,
    /// Folder of the generation in Zig, where `ipc` is opened. Its own default is `/tmp/.libipc-run`.
    pub zig: Option<PathBuf>,
}

impl Libipc {
    /// The folders that are named.
    pub(crate) fn folders(&self) -> Vec<Folder> {
        let named = [(&self.c, Generation::C), (&self.zig, Generation::Zig)];
        let named = named.into_iter().filter_map(|(path, generation)| Some((path.clone()?, generation)));
        named.map(|(path, generation)| Folder::new(path, generation)).collect()
    }
}

/// A user or a group that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// User, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Group, by number; with `uid`, both must fit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// SPIFFE id, or the name of the service that these programs are.
    pub name: Arc<str>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            socket: None,
            socket_mode: "666".into(),
            identities: Vec::new(),
            libipc: Libipc::default(),
            incoming: Incoming::default(),
            default_route: None,
            tls_ca: None,
            certificate: None,
            keys: None,
            max_connections: 4096,
            max_connections_per_user: 256,
            max_relayed_per_user: 1024,
            max_offers_per_user: 64,
            reply_timeout: Duration::from_secs(5),
        }
    }
}

impl Config {
    /// Permissions of the socket.
    ///
    /// # Errors
    /// What is wrong with them, in words.
    pub fn mode(&self) -> Result<u32, String> {
        let read = u32::from_str_radix(&self.socket_mode, 8).ok().filter(|mode| *mode <= 0o777);
        read.ok_or_else(|| {
            format!("\"{}\" are no permissions of a file: write octal digits, like \"660\"", self.socket_mode)
        })
    }

    /// libipc's folders, those that are named.
    pub(crate) fn folders(&self) -> Vec<Folder> {
        self.libipc.folders()
    }

    /// Who a caller is to the rules.
    pub(crate) fn principal(&self, caller: &Caller, domain: &str) -> Principal {
        let fits = |identity: &&Identity| {
            identity.uid.is_none_or(|uid| uid == caller.uid)
                && identity.gid.is_none_or(|gid| gid == caller.gid)
                && (identity.uid.is_some() || identity.gid.is_some())
        };
        match self.identities.iter().find(fits) {
            None => Principal::Local { uid: caller.uid },
            Some(identity) if identity.name.starts_with("spiffe://") => {
                Principal::Identity { id: identity.name.clone() }
            }
            Some(identity) => {
                Principal::Identity { id: format!("spiffe://{domain}/service/{}", identity.name).into() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_identity_that_fits_is_it() {
        let named = |uid, gid, name: &str| Identity { uid, gid, name: name.into() };
        let identities = vec![
            named(None, None, "nobody-in-particular"),
            named(Some(1000), Some(5), "printer"),
            named(Some(1000), None, "web"),
            named(None, Some(7), "spiffe://else.example/group"),
        ];
        let config = Config { identities, ..Config::default() };
        let who = |uid, gid| config.principal(&Caller { pid: 1, uid, gid }, "blue.example");
        let id = |id: &str| Principal::Identity { id: id.into() };
        assert_eq!(who(1000, 5), id("spiffe://blue.example/service/printer"));
        assert_eq!(who(1000, 6), id("spiffe://blue.example/service/web"));
        assert_eq!(who(1001, 7), id("spiffe://else.example/group"));
        assert_eq!(who(1001, 8), Principal::Local { uid: 1001 });
    }

    #[test]
    fn permissions_are_octal() {
        let mode = |text: &str| Config { socket_mode: text.into(), ..Config::default() }.mode();
        assert_eq!(mode("660"), Ok(0o660));
        assert!(mode("888").is_err() && mode("7777").is_err() && mode("").is_err());
    }
}
