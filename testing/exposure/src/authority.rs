//! A real authority in the world, which looks at names before it vouches for them.

use std::path::PathBuf;

use peers::{Running, until};

use crate::LIMIT;
use crate::home::{Fallible, Home};
use crate::role::NameServer;

/// pebble, with the name server of the world as its own.
pub struct Authority {
    roots: PathBuf,
    folder: PathBuf,
    _server: Running,
}

impl Authority {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &Home) -> Fallible<Authority> {
        let folder = home.folder.path().join("pebble");
        std::fs::create_dir(&folder)?;
        let made = rcgen::generate_simple_self_signed(vec!["45.83.0.2".to_owned()])?;
        std::fs::write(folder.join("cert.pem"), made.cert.pem())?;
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
        let place = folder.display();
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "45.83.0.2:14000", "managementListenAddress": "45.83.0.2:15000",
            "certificate": "{place}/cert.pem", "privateKey": "{place}/key.pem", "httpPort": 80, "tlsPort": 443,
            "ocspResponderURL": "", "externalAccountBindingRequired": false}}}}"#
        );
        std::fs::write(folder.join("pebble.json"), config)?;
        let mut command = home.outside(peers::tool("pebble")?);
        command.arg("-config").arg(folder.join("pebble.json"));
        command.args(["-dnsserver", NameServer::ADDRESS]).env("PEBBLE_VA_NOSLEEP", "1");
        let server = Running::start(&mut command)?;
        let roots = folder.join("roots.pem");
        // Its root is made when it starts, and told by its other port.
        let fetch = || {
            let mut curl = home.outside("curl");
            let out =
                curl.args(["-skf", "--max-time", "2", "https://45.83.0.2:15000/roots/0"]).output().ok()?;
            out.status.success().then_some(out.stdout)
        };
        std::fs::write(&roots, until(LIMIT, "the authority to tell its root", fetch)?)?;
        Ok(Authority { roots, folder, _server: server })
    }

    /// Section `[acme]` for the daemon.
    pub fn section(&self) -> String {
        let ca = self.folder.join("cert.pem");
        format!(
            "[acme]\nterms_agreed = true\ndirectory = \"https://45.83.0.2:14000/dir\"\nca = \"{}\"\nretry = \"1s\"\ndns_wait = \"1s\"\n",
            ca.display()
        )
    }

    /// Those who trust it trust this file.
    pub fn roots(&self) -> &std::path::Path {
        &self.roots
    }
}
