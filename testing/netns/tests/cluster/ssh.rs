//! OpenSSH, unmodified, through the broker: a connection that it holds by itself, and one that nothing but the mesh
//! leads to.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use portolan_netns::{Cluster, Host, Lab, SshTools, Sshd, need};

use crate::support::{NAMES, take_up};

/// Ended with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Client<'a> {
    host: &'a Host,
    ssh: PathBuf,
    ss: PathBuf,
    folder: &'a Path,
    broker: &'a Path,
    sshd: &'a Sshd,
}

impl Client<'_> {
    /// ssh with a command at the other side that repeats, once that has been heard.
    fn connect(&self, name: &str) -> Option<Ending> {
        let mut command = self.host.command(&self.ssh);
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        let proxy = format!("ProxyCommand={} ssh-proxy %h %p", peers::portolan().unwrap().display());
        command.args(["-o", "BatchMode=yes", "-o", "ProxyUseFdpass=yes", "-o", &proxy]);
        command.arg("-i").arg(self.sshd.key());
        command.args([&format!("root@{name}"), "cat"]).env("PORTOLAN_BROKER", self.broker);
        let log = fs::File::create(self.folder.join("ssh.log")).unwrap();
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut child = Ending(child);
        // It may have ended by now; then nothing is heard.
        let _ = child.0.stdin.as_mut().unwrap().write_all(b"there and back\n");
        let mut line = String::new();
        BufReader::new(child.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        (line == "there and back\n").then_some(child)
    }

    /// Established TCP connections of a program's on the client's host, as `ss` shows them.
    fn held_by(&self, child: &Ending) -> Vec<String> {
        let mut command = self.host.command(&self.ss);
        let output = command.args(["-Htnp", "state", "established"]).output().unwrap();
        let owner = format!("((\"ssh\",pid={},", child.0.id());
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().filter(|line| line.contains(&owner)).map(str::to_owned).collect()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("ssh.log")).unwrap_or_default()
    }
}

#[test]
fn ssh_reaches_a_service_of_another_host_and_holds_the_connection_itself() {
    let tools = need!(SshTools::find());
    let ss = need!(peers::tool("ss"));
    let lab = need!(Lab::new(&NAMES[..2]));
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker.sock");
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |at, start| match at {
        0 => start.set(format!("broker.socket={}", broker.display())),
        _ => start,
    }));
    cluster.form(2).unwrap();
    let there = lab.hosts[1].address.to_string();
    let listens = [format!("{there}:22"), "127.0.0.1:2222".to_owned()];
    let sshd = Sshd::start(&tools, &lab.hosts[1], &folder.path().join("sshd"), &listens).unwrap();
    for (name, address, port) in [("shell", there.as_str(), 22), ("inner-shell", "127.0.0.1", 2222)] {
        take_up(&cluster, 1, name, address, port);
    }
    let client = Client {
        host: &lab.hosts[0],
        ssh: tools.ssh.clone(),
        ss,
        folder: folder.path(),
        broker: &broker,
        sshd: &sshd,
    };

    // sshd may not listen yet, and the service not be known yet.
    let connect = |name: &str| {
        let connected = cluster.eventually("ssh gets through", || client.connect(name));
        connected.unwrap_or_else(|error| panic!("{error}: {} {}", client.log(), sshd.log()))
    };
    let direct = connect("shell.svc.internal");
    let held = client.held_by(&direct);
    assert!(held.len() == 1 && held[0].contains(&format!("{there}:22")), "{held:?}");

    // The other one listens on its own host's loopback alone: the mesh leads there, and ssh holds no TCP of its own.
    let through = connect("inner-shell.svc.internal");
    assert_eq!(client.held_by(&through), Vec::<String>::new());
    let held = client.held_by(&direct);
    assert_eq!(held.len(), 1, "the first is held all the while: {held:?}");
}
