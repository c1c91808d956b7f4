//! Several daemons on this host as one cluster, by the commands that a user types.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::{Daemon, PROGRAM, clean, eventually};

/// A node of a cluster: its data directory and its mesh, each node on an address of its own of loopback's.
struct Node {
    data: PathBuf,
    mesh: String,
    daemon: Option<Daemon>,
}

impl Node {
    fn start(folder: &Path, number: u8) -> Node {
        let process = std::process::id().to_be_bytes();
        let mesh = format!("mesh.listen=127.{}.{}.{number}:8300", 100 + process[2] % 100, process[3]);
        let mut node = Node { data: folder.join(format!("n{number}")), mesh, daemon: None };
        node.serve();
        node
    }

    fn serve(&mut self) {
        let name = self.data.file_name().unwrap().to_str().unwrap().to_owned();
        let arguments = ["--node", &name, "--set", &self.mesh];
        self.daemon = Some(Daemon::start(Daemon::serving(&self.data).args(arguments)));
    }

    /// The command line as this user, by the Unix socket.
    fn say(&self, arguments: &[&str]) -> String {
        let socket = self.data.join("api.sock");
        let daemon = self.daemon.as_ref().unwrap();
        let (socket, timeout) = (socket.to_str().unwrap(), ["--timeout", "30s"]);
        daemon.say(&[arguments, &["--api", socket], &timeout].concat())
    }

    fn list(&self, arguments: &[&str]) -> Vec<Value> {
        serde_json::from_str(&self.say(&[arguments, &["--output", "json"]].concat())).unwrap()
    }

    fn voters(&self) -> usize {
        self.list(&["members"]).iter().filter(|member| member["Votes"] == true).count()
    }

    fn leader(&self) -> Option<String> {
        let members = self.list(&["members"]);
        let leader = members.iter().find(|member| member["Leads"] == true)?;
        Some(leader["Name"].as_str().unwrap().to_owned())
    }
}

#[test]
fn three_hosts_are_one_registry_and_survive_their_leader() {
    let folder = tempfile::tempdir().unwrap();
    let mut nodes: Vec<Node> = (1..=3).map(|number| Node::start(folder.path(), number)).collect();
    nodes[0].say(&["kv", "put", "before", "1"]);
    nodes[0].say(&["init"]);
    for joiner in &nodes[1..] {
        let token = nodes[0].say(&["token", "create"]);
        joiner.say(&["join", token.trim()]);
    }
    eventually("three to vote", || (nodes[0].voters() == 3).then_some(()));
    for (number, node) in nodes.iter().enumerate() {
        node.say(&["register", "web", "--id", &format!("web-{number}"), "--port", "80"]);
    }
    for node in &nodes {
        eventually("every instance everywhere", || {
            (node.list(&["instances", "web"]).len() == 3).then_some(())
        });
        assert_eq!(
            node.say(&["kv", "get", "before"]).trim(),
            "1",
            "what the founder had decided alone is kept"
        );
    }

    let leader = eventually("a leader", || nodes[0].leader());
    let at = nodes.iter().position(|node| node.data.ends_with(&leader)).unwrap();
    // Dropping it kills it.
    nodes[at].daemon = None;
    let other = &nodes[(at + 1) % 3];
    other.say(&["kv", "put", "after", "2"]);
    nodes[at].serve();
    eventually("the one that was killed to catch up", || {
        let keys = nodes[at].list(&["kv", "list"]);
        keys.iter().any(|key| key["Key"] == "after").then_some(())
    });

    nodes.iter_mut().for_each(|node| node.daemon = None);
    nodes.iter_mut().for_each(Node::serve);
    eventually("a leader after all were killed at once", || nodes[0].leader());
    for node in &nodes {
        eventually("nothing to be lost", || (node.list(&["instances", "web"]).len() == 3).then_some(()));
    }
}

/// `dev --nodes`, until its input ends.
#[test]
fn dev_runs_a_whole_cluster_and_says_how_to_kill_a_node() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["dev", "--nodes", "3"]).env("TMPDIR", folder.path());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let told: Vec<String> = lines.by_ref().take_while(|line| !line.contains("kill -9")).collect();
    let pids: Vec<i32> =
        told.iter().filter_map(|line| line.split("pid ").nth(1)?.split(' ').next()?.parse().ok()).collect();
    assert_eq!(pids.len(), 3, "{told:?}");
    let status = told.iter().find(|line| line.contains(" status --api ")).unwrap();
    let socket = status.rsplit(' ').next().unwrap();
    let say = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).args(["--api", socket]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    say(&["kv", "put", "kept", "1"]);
    // As the text says: one is killed, and the others go on.
    let first = rustix::process::Pid::from_raw(pids[0]).unwrap();
    rustix::process::kill_process(first, rustix::process::Signal::KILL).unwrap();
    assert!(lines.by_ref().any(|line| line.contains("n1 ended") && line.contains("To start it again")));
    let written = || {
        let more = Command::new(PROGRAM).args(["kv", "put", "after", "2", "--api", socket]).output();
        more.unwrap().status.success().then_some(())
    };
    eventually("a write after the death of a node", written);
    assert!(say(&["kv", "get", "kept"]).contains('1'));

    // The end of input ends them all, and what they had.
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "{pid} still runs");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Without a daemon in the directory that is meant, `init` would change files that the one which runs never reads.
#[test]
fn init_is_refused_beside_a_daemon_that_lives_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (home, other) = (folder.path().join("home"), folder.path().join("other"));
    let daemon = Daemon::serve(&home, &[]);
    let begin = |dir: &Path, api: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["init", "--data-dir"]).arg(dir).args(["--set", "mesh.listen=127.0.0.1:8300"]);
        let output = clean(command.args(["--set", &format!("api.listen={api}")])).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = begin(&other, &daemon.api());
    assert_eq!(code, 2, "{said}");
    let meant = format!("--data-dir {}", home.display());
    assert!(said.contains(&daemon.api()) && said.contains(&meant), "{said}");
    assert!(!other.exists(), "something was begun all the same");
    let in_memory = Daemon::dev(&[]);
    let (code, said) = begin(&other, &in_memory.api());
    assert!(code == 2 && said.contains("keeps nothing"), "{code} {said}");
    // As another daemon, which will not stand in this one's way.
    let (code, said) = begin(&other, "127.0.0.1:0");
    assert_eq!(code, 0, "{said}");
}

#[test]
fn a_daemon_that_runs_keeps_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let _daemon = Daemon::serve(&home, &["--node", "one"]);
    let begin = |words: &[&str]| {
        let mut command = Command::new(PROGRAM);
        let output = clean(command.args(words).arg("--data-dir").arg(&home)).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for words in [&["init", "--node", "two"][..], &["join", "never-read", "--node", "two"]] {
        let (code, said) = begin(words);
        assert!(code == 2 && said.contains("--node two") && said.contains("\"one\""), "{code} {said}");
    }
    // Its own name is no contradiction; what is wrong then is the token.
    let (code, said) = begin(&["join", "never-read", "--node", "one"]);
    assert!(code != 0 && said.contains("token") && !said.contains("--node"), "{code} {said}");
}

/// Root stops the service, and begins the cluster by hand: what is written is the service's own.
#[test]
fn what_root_begins_belongs_to_the_owner_of_the_directory() {
    use std::fs::{Permissions, create_dir, set_permissions};
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

    const OWNER: u32 = 54_321;
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can begin for somebody else");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let goes_in = |dir: &Path| dir.metadata().unwrap().mode() & 0o001 != 0;
    let on_the_way = Path::new(PROGRAM).ancestors().chain(folder.path().ancestors());
    if !on_the_way.into_iter().all(goes_in) {
        println!("skipped: others may not run {PROGRAM}, or look into {}", folder.path().display());
        return;
    }
    let data = folder.path().join("data");
    create_dir(&data).unwrap();
    chown(&data, Some(OWNER), Some(OWNER)).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["init", "--data-dir"]).arg(&data).args(["--set", "api.listen=127.0.0.1:0"]);
    let output = clean(command.args(["--set", "mesh.listen=127.0.0.1:8300"])).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (mut folders, mut files) = (vec![data], 0);
    while let Some(folder) = folders.pop() {
        for entry in folder.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let found = path.symlink_metadata().unwrap();
            assert_eq!((found.uid(), found.gid()), (OWNER, OWNER), "{}", path.display());
            files += 1;
            folders.extend(found.is_dir().then_some(path));
        }
    }
    assert!(files > 3, "{files} files");
}
