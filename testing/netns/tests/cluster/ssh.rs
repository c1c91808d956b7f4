//! OpenSSH, unmodified, through the broker: a connection that it holds by itself, and one that nothing but the mesh
//! leads to.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use portolan_netns::{Cluster, Host, Lab, need};

use crate::support::{NAMES, take_up};

/// Ended with the test.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What sshd needs of a host, without installing it: a user of its own, a folder of its own, keys. It listens on 22 for
/// everybody, and on loopback's 2222.
fn prepare(folder: &Path, address: &str, keygen: &Path) {
    for name in ["host_key", "user_key"] {
        let mut command = Command::new(keygen);
        let made = command.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.join(name)).status();
        assert!(made.unwrap().success());
    }
    fs::copy(folder.join("user_key.pub"), folder.join("authorized")).unwrap();
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let mut users: Vec<_> = users.lines().filter(|line| !line.starts_with("sshd:")).collect();
    users.push("sshd:x:109:65534::/run/sshd:/usr/sbin/nologin\n");
    fs::write(folder.join("passwd"), users.join("\n")).unwrap();
    fs::write(folder.join("shadow"), "root:*:19000:0:99999:7:::\n").unwrap();
    let folder = folder.display();
    let config = format!(
        "ListenAddress {address}:22\nListenAddress 127.0.0.1:2222\nHostKey {folder}/host_key\nPidFile none\n\
         AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n\
         PermitRootLogin prohibit-password\nUsePAM no\n"
    );
    fs::write(format!("{folder}/sshd_config"), config).unwrap();
}

fn sshd(program: &Path, host: &Host, folder: &Path) -> Ending {
    let script = "mount --bind \"$F/passwd\" /etc/passwd && mount --bind \"$F/shadow\" /etc/shadow && \
                  mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$SSHD\" -D -e -f \"$F/sshd_config\"";
    let mut command = host.command("unshare");
    command.args(["-m", "sh", "-c", script]).env("F", folder).env("SSHD", program);
    let log = fs::File::create(folder.join("sshd.log")).unwrap();
    Ending(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap())
}

struct Client<'a> {
    host: &'a Host,
    ssh: PathBuf,
    ss: PathBuf,
    folder: &'a Path,
    broker: &'a Path,
}

impl Client<'_> {
    /// ssh with a command at the other side that repeats, once that has been heard.
    fn connect(&self, name: &str) -> Option<Ending> {
        let mut command = self.host.command(&self.ssh);
        command.args(["-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        let proxy = format!("ProxyCommand={} ssh-proxy %h %p", peers::portolan().unwrap().display());
        command.args(["-o", "BatchMode=yes", "-o", "ProxyUseFdpass=yes", "-o", &proxy]);
        command.arg("-i").arg(self.folder.join("user_key"));
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

    fn logs(&self) -> [String; 2] {
        ["ssh.log", "sshd.log"].map(|log| fs::read_to_string(self.folder.join(log)).unwrap_or_default())
    }
}

#[test]
fn ssh_reaches_a_service_of_another_host_and_holds_the_connection_itself() {
    let tools = ["ssh", "sshd", "ssh-keygen", "ss", "unshare"].map(peers::tool);
    if let Some(missing) = tools.iter().find_map(|tool| tool.as_ref().err()) {
        return println!("{missing}");
    }
    let [ssh, program, keygen, ss, _] = tools.map(Result::unwrap);
    let lab = need!(Lab::new(&NAMES[..2]));
    let folder = tempfile::tempdir().unwrap();
    let broker = folder.path().join("broker.sock");
    let mut cluster = need!(Cluster::new(&lab, folder.path(), |at, start| match at {
        0 => start.set(format!("broker.socket={}", broker.display())),
        _ => start,
    }));
    cluster.form(2).unwrap();
    let there = lab.hosts[1].address.to_string();
    prepare(folder.path(), &there, &keygen);
    let _sshd = sshd(&program, &lab.hosts[1], folder.path());
    for (name, address, port) in [("shell", there.as_str(), 22), ("inner-shell", "127.0.0.1", 2222)] {
        take_up(&cluster, 1, name, address, port);
    }
    let client = Client { host: &lab.hosts[0], ssh, ss, folder: folder.path(), broker: &broker };

    // sshd may not listen yet, and the service not be known yet.
    let connect = |name: &str| {
        let connected = cluster.eventually("ssh gets through", || client.connect(name));
        connected.unwrap_or_else(|error| panic!("{error}: {:?}", client.logs()))
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
