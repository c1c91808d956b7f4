//! A router: a real miniupnpd with a firewall and NAT, in a namespace of its own.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use peers::Running;

use crate::home::{Fallible, enter, nft};

/// Between `lan0` and `wan0` of its namespace; it ends with the value.
pub(crate) struct Router {
    namespace: String,
    folder: PathBuf,
    running: Mutex<Option<Running>>,
}

const RULES: &str = "table inet filter {
    chain forward {
        type filter hook forward priority 0; policy drop;
        ct state established,related accept
        iifname \"lan0\" accept
        meta l4proto ipv6-icmp accept
        jump miniupnpd
    }
    chain miniupnpd { }
    chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
    chain postrouting { type nat hook postrouting priority srcnat; jump postrouting_miniupnpd; meta nfproto ipv4 oifname \"wan0\" masquerade; }
    chain prerouting_miniupnpd { }
    chain postrouting_miniupnpd { }
}";

impl Router {
    /// Nothing is done yet; its files will be in this folder.
    pub(crate) fn new(namespace: &str, folder: &Path) -> Router {
        Router { namespace: namespace.to_owned(), folder: folder.to_owned(), running: Mutex::new(None) }
    }

    /// Starts it for the network of which these are the first three bytes.
    pub(crate) fn start(&self, network: &str) -> Fallible<()> {
        nft(&self.namespace, RULES)?;
        let leases = self.leases();
        let config = format!(
            "ext_ifname=wan0\nlistening_ip=lan0\nenable_natpmp=yes\nmin_lifetime=5\nsecure_mode=yes\nsystem_uptime=no\n\
             uuid=fc4ec57e-b051-11db-88f8-0060085db3f6\nlease_file={}\n\
             allow 53-65535 {network}.0/24 1-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
            leases.display()
        );
        std::fs::write(self.config(), config)?;
        std::fs::write(leases, "")?;
        self.restart()
    }

    /// Starts it anew, at another port of its own.
    pub(crate) fn restart(&self) -> Fallible<()> {
        drop(self.take());
        let program = peers::tool("miniupnpd")?;
        let mut command = enter(&self.namespace, &program);
        command.arg("-d").arg("-f").arg(self.config());
        command.arg("-P").arg(self.folder.join("mini.pid"));
        let mut router = Running::start(&mut command)?;
        router.wait_until(crate::LIMIT, "the router to listen", || {
            // 1900, in the table of UDP sockets
            let table = enter(&self.namespace, "cat".as_ref()).arg("/proc/net/udp").output();
            table.is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(":076C "))
        })?;
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some(router);
        Ok(())
    }

    /// Its daemon, which ends when this is dropped; packets go on.
    pub(crate) fn take(&self) -> Option<Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.join("mini.conf")
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.folder.join("leases")
    }

    /// See [`crate::Home::mappings`].
    pub(crate) fn mappings(&self) -> Fallible<Vec<String>> {
        // Without any mapping there may be no file either.
        let text = std::fs::read_to_string(self.leases()).or_else(|cause| match cause.kind() {
            std::io::ErrorKind::NotFound => Ok(String::new()),
            _ => Err(cause),
        })?;
        let mut found: Vec<String> = text
            .lines()
            .filter_map(|line| {
                let fields: Vec<&str> = line.split(':').collect();
                let [protocol, external, client, internal, ..] = fields.as_slice() else { return None };
                Some(format!("{external}/{}>{client}:{internal}", protocol.to_lowercase()))
            })
            .collect();
        found.sort();
        Ok(found)
    }
}
