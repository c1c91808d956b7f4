//! Debian's Patroni keeps a PostgreSQL available, and our sessions and locks decide which of two may be written to.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use peers::{Missing, Running};
use portolan_conformance::{Daemon, need};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::{Value, json};

/// Terms are Patroni's shortest: a session of 10 s, that ends after 20 s of silence.
const LIMIT: Duration = Duration::from_secs(150);

/// PostgreSQL refuses to be root's; this user owns nothing.
const NOBODY: u32 = 65534;

const KEY: &str = "/v1/kv/service/harbour/leader";

#[test]
fn whoever_holds_our_lock_is_written_to() {
    let tools = need!(Tools::find());
    let daemon = need!(Daemon::start());
    let folder = tempfile::tempdir().unwrap();
    give(folder.path());
    let mut members = ["a", "b"].map(|name| Member::start(&tools, &daemon, folder.path(), name));
    let (first, session) = leader(&daemon, &mut members, None);
    let at = members.iter().position(|member| member.name == first).unwrap();
    let [old, new] = [at, 1 - at];

    members[old]
        .sql(&tools, "create table ships (name text); insert into ships values ('Santiago')")
        .unwrap();
    until(&mut members[new], "the row on the other", |member| {
        member.sql(&tools, "select name from ships").is_ok_and(|rows| rows == "Santiago")
    });
    assert!(
        members[new].sql(&tools, "insert into ships values ('Concepción')").is_err(),
        "one is written to"
    );
    until(&mut members[new], "clients to find the first", |_| primary(&daemon) == [first.clone()]);

    members[old].kill();
    let (second, _) = leader(&daemon, &mut members[new..=new], Some(&session));
    assert_eq!(second, members[new].name);
    until(&mut members[new], "a row in the other", |member| {
        member.sql(&tools, "insert into ships values ('Trinidad')").is_ok()
    });
    assert_eq!(members[new].sql(&tools, "select name from ships order by 1").unwrap(), "Santiago\nTrinidad");
    until(&mut members[new], "clients to find the second", |_| primary(&daemon) == [second.clone()]);
}

/// Who has the lock, and by which session, once it is another than `before` and that one is over.
fn leader(daemon: &Daemon, members: &mut [Member], before: Option<&str>) -> (String, String) {
    let mut found = None;
    until(&mut members[0], "a leader", |_| {
        let told = daemon.get(&format!("{KEY}?consistent")).ok();
        let session = told.as_ref().and_then(|pairs| pairs[0]["Session"].as_str().map(str::to_owned));
        found = session.filter(|session| before != Some(session.as_str())).and_then(|session| {
            let name = daemon.text(&format!("{KEY}?raw")).ok()?;
            Some((name, session))
        });
        found.is_some()
    });
    if let Some(before) = before {
        let left = daemon.get(&format!("/v1/session/info/{before}")).unwrap();
        assert_eq!(left, json!([]), "the lock went with its session");
    }
    found.unwrap()
}

/// Members that clients of the service are sent to for writing: Patroni registers both, with checks and tags.
fn primary(daemon: &Daemon) -> Vec<String> {
    let found = daemon.get("/v1/health/service/harbour?passing&tag=primary").unwrap_or_default();
    let id = |one: &Value| one["Service"]["ID"].as_str().unwrap_or_default().replace("harbour/", "");
    found.as_array().map(|all| all.iter().map(id).collect()).unwrap_or_default()
}

fn until(member: &mut Member, what: &str, mut look: impl FnMut(&Member) -> bool) {
    let mut process = member.process.take().unwrap();
    let outcome = process.wait_until(LIMIT, what, || look(member));
    member.process = Some(process);
    outcome.unwrap();
}

/// The programs, and what they need to be found.
struct Tools {
    patroni: PathBuf,
    postgres: PathBuf,
    modules: PathBuf,
    libraries: OsString,
}

impl Tools {
    fn find() -> Result<Tools, Missing> {
        let patroni = peers::file("usr/bin/patroni")?;
        let modules = peers::file("usr/lib/python3/dist-packages/consul")?.with_file_name("");
        let postgres = peers::file("usr/lib/postgresql/15/bin/initdb")?.with_file_name("");
        peers::file("usr/lib/postgresql/15/bin/psql")?;
        let tree = peers::folder().join("root");
        let machine = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
        let tools = Tools { patroni, postgres, modules, libraries: tree.join(machine).into() };
        peers::runs(tools.command(Path::new("/usr/bin/python3")).arg(&tools.patroni).arg("--version"))?;
        peers::runs(tools.command(&tools.postgres.join("psql")).arg("--version"))?;
        Ok(tools)
    }

    /// As somebody whom PostgreSQL accepts.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("PYTHONPATH", &self.modules).env("PYTHONDONTWRITEBYTECODE", "1").env("LC_ALL", "C.UTF-8");
        command.env("LD_LIBRARY_PATH", &self.libraries).current_dir("/");
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

fn give(folder: &Path) {
    if geteuid().is_root() {
        chown(folder, Some(NOBODY), Some(NOBODY)).unwrap();
    }
}

/// Patroni and the PostgreSQL that it runs; both go with the value.
struct Member {
    name: &'static str,
    port: u16,
    data: PathBuf,
    process: Option<Running>,
}

impl Member {
    fn start(tools: &Tools, daemon: &Daemon, folder: &Path, name: &'static str) -> Member {
        let [port, rest] = [(); 2].map(|()| peers::reserve_port().unwrap());
        let data = folder.join(name);
        let file = folder.join(format!("{name}.json"));
        let settings = settings(tools, daemon, folder, name, [port, rest]);
        std::fs::write(&file, settings.to_string()).unwrap();
        let mut command = tools.command(Path::new("/usr/bin/python3"));
        command.arg(&tools.patroni).arg(&file).env("HOME", folder);
        Member { name, port, data, process: Some(Running::start(&mut command).unwrap()) }
    }

    /// What PostgreSQL answers.
    fn sql(&self, tools: &Tools, statement: &str) -> Result<String, String> {
        let output = tools
            .command(&tools.postgres.join("psql"))
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "postgres", "-Atqc", statement])
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }

    /// As a power cut would, both of them.
    fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
        self.kill_postgres();
    }

    fn kill_postgres(&self) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let pid = file.lines().next().and_then(|line| line.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // Its other processes end when they notice.
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Patroni's file; every JSON is YAML.
fn settings(tools: &Tools, daemon: &Daemon, folder: &Path, name: &str, [port, rest]: [u16; 2]) -> Value {
    let on = |port: u16| format!("{}:{port}", Ipv4Addr::LOCALHOST);
    let user = |name: &str| json!({ "username": name, "password": "of-a-test" });
    json!({
        "scope": "harbour",
        "name": name,
        "restapi": { "listen": on(rest), "connect_address": on(rest) },
        "consul": { "host": daemon.address(), "register_service": true, "service_check_interval": "1s" },
        "bootstrap": {
            "dcs": { "ttl": 20, "loop_wait": 1, "retry_timeout": 5 },
            "initdb": [{ "encoding": "UTF8" }, "no-sync"],
            "pg_hba": ["local all all trust", "host all all 127.0.0.1/32 trust",
                "host replication all 127.0.0.1/32 trust"],
        },
        "postgresql": {
            "listen": on(port),
            "connect_address": on(port),
            "data_dir": folder.join(name),
            "bin_dir": tools.postgres,
            "pgpass": folder.join(format!("{name}.pgpass")),
            "authentication": { "superuser": user("postgres"), "replication": user("replicator") },
            "basebackup": [{ "checkpoint": "fast" }, "no-sync"],
            "parameters": { "unix_socket_directories": folder, "fsync": "off", "shared_buffers": "16MB" },
        },
    })
}
