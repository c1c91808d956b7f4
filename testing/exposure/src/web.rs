//! The service that tests make reachable, and what is said of it.

use std::process::Command;

use peers::Running;

use crate::{Fallible, Guard, Guest, Home, NameServer};

/// Registers it where it answers on every address.
pub const REGISTER: [&str; 7] =
    ["register", "web", "--port", "1337", "--check-tcp", "127.0.0.1:1337", "--check-interval=200ms"];

/// Registers it where it answers on loopback alone.
pub const REGISTER_INSIDE: [&str; 9] = [
    "register",
    "web",
    "--port",
    "1337",
    "--address",
    "127.0.0.1",
    "--check-tcp",
    "127.0.0.1:1337",
    "--check-interval=200ms",
];

impl Home {
    /// Builds one guarded by nftables for the ordinary daemon; the reason for skipping where it, Python or one of these
    /// programs is not there.
    ///
    /// # Errors
    /// A `skipped: …` line.
    pub fn for_daemon(tools: &[&str]) -> Result<Home, String> {
        let missing = |missing: peers::Missing| missing.to_string();
        peers::portolan().map_err(missing)?;
        peers::python(&[]).map_err(missing)?;
        tools.iter().try_for_each(|tool| peers::tool(tool).map(drop).map_err(missing))?;
        Home::build(Guard::Nft)
    }

    /// Starts it in the client host: on port 1337 of `address` it answers "leet" to anybody.
    ///
    /// # Errors
    /// When Python does not start.
    pub fn serve_web(&self, address: &str) -> Fallible<Running> {
        serve(self.inside("python3"), address)
    }

    /// The part of a configuration that shows names at [`NameServer`].
    ///
    /// # Errors
    /// When its key cannot be written.
    pub fn public_dns(&self) -> Fallible<String> {
        let key = self.folder.path().join("ddns.key");
        std::fs::write(&key, NameServer::KEY)?;
        Ok(format!(
            "[[public_dns]]\nkind = \"rfc2136\"\nzones = [\"example.test\"]\nserver = \"{}\"\nkey_file = \"{}\"\n",
            NameServer::ADDRESS,
            key.display()
        ))
    }
}

impl Guest {
    /// The same service on another host.
    ///
    /// # Errors
    /// When Python does not start.
    pub fn serve_web(&self, address: &str) -> Fallible<Running> {
        serve(self.run("python3"), address)
    }
}

fn serve(mut python: Command, address: &str) -> Fallible<Running> {
    let program = format!(
        "import http.server as h, socket\nclass A(h.BaseHTTPRequestHandler):\n  def do_GET(s):\n    \
         s.send_response(200); s.send_header('content-length','4'); s.end_headers(); s.wfile.write(b'leet')\n\
         class S(h.ThreadingHTTPServer):\n  \
         address_family = socket.AF_INET6 if ':' in '{address}' else socket.AF_INET\n\
         S(('{address}',1337),A).serve_forever()"
    );
    Ok(Running::start(python.args(["-c", &program]))?)
}
