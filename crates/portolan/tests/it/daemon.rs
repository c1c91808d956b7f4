//! A daemon's life: the first minute, reload, refusal, farewell.

use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{Daemon, FREE_PORTS, PROGRAM, clean, eventually, http};

/// The three commands of the greeting, run as they stand by a shell.
#[test]
fn what_dev_says_to_type_works() {
    use std::io::{BufRead as _, BufReader};
    let mut child = clean(Command::new(PROGRAM).arg("dev"))
        .args(FREE_PORTS)
        .args(["--log-level", "error"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let listeners: Vec<_> = lines.by_ref().take_while(|line| !line.starts_with("In another")).collect();
    for what in ["HTTP API", "DNS", "TCP proxy", "HTTP proxy"] {
        assert!(listeners.iter().any(|line| line.trim_start().starts_with(what)), "{listeners:#?}");
    }
    let commands: Vec<_> = lines.by_ref().skip(1).take(3).collect();
    let outputs: Vec<_> = commands
        .iter()
        .map(|line| {
            let output = clean(Command::new("sh").arg("-c").arg(line)).output().unwrap();
            assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        })
        .collect();
    assert!(outputs[1].contains("127."), "{commands:#?} {outputs:#?}");
    assert!(outputs[2].contains("web") && outputs[2].contains("1 passing"), "{outputs:#?}");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Consul's own test helpers take a first index of 1 for a server that is not ready.
#[test]
fn a_new_registry_is_ready_in_the_eyes_of_consuls_clients() {
    let daemon = Daemon::dev(&[]);
    let (_, nodes) = http(daemon.addresses["HTTP API"], "localhost", "/v1/catalog/nodes").unwrap();
    let nodes: serde_json::Value = serde_json::from_str(&nodes).unwrap();
    assert!(nodes[0]["ModifyIndex"].as_u64().unwrap() >= 2, "{nodes}");
}

#[test]
fn virtual_addresses_come_from_the_configured_range() {
    let dir = tempfile::tempdir().unwrap();
    let address = |range: &str, service: &str| {
        let daemon = Daemon::serve(dir.path(), &["--set", &format!("hostnet.range={range}")]);
        daemon.say(&["register", service, "--port", "80"]);
        let resolved = daemon.say(&["resolve", service, "--output", "json"]);
        let resolved: serde_json::Value = serde_json::from_str(&resolved).unwrap();
        resolved["Virtual"]["Address"].as_str().unwrap().to_owned()
    };
    let before = address("127.5.0.0/16", "web");
    assert!(before.starts_with("127.5."), "{before}");
    let other = address("127.6.0.0/16", "shop");
    assert!(other.starts_with("127.6."), "{other}");
    assert_eq!(address("127.6.0.0/16", "web"), before, "a service keeps its address");
    let refused = Daemon::try_start(Daemon::serving(dir.path()).args(["--set", "hostnet.range=10.0.0.0/8"]));
    assert!(refused.is_err_and(|said| said.contains("not within 127.0.0.0/8")));
}

#[test]
fn sigterm_drains_and_ends_well() {
    let mut daemon = Daemon::dev(&[]);
    daemon.say(&["register", "web", "--port", "80"]);
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    daemon.logged("stopped");
}

/// What a unit of `Type=notify` waits for, and what `systemctl reload` and `stop` see.
#[test]
fn the_service_manager_is_told_of_its_life() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let told = || {
        let mut bytes = [0; 500];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut dev = Command::new(PROGRAM);
    dev.arg("dev").args(FREE_PORTS).args(["--set", "node.name=harbour"]).env("NOTIFY_SOCKET", &path);
    let mut daemon = Daemon::start(&mut dev);
    assert_eq!(told(), "READY=1\nSTATUS=serving as harbour");
    daemon.signal(Signal::HUP);
    assert!(told().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert!(told().starts_with("READY=1\n"));
    daemon.signal(Signal::TERM);
    assert!(told().starts_with("STOPPING=1\n"));
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn a_client_of_the_api_may_end_it() {
    let mut daemon = Daemon::dev(&[]);
    let address = daemon.addresses["HTTP API"];
    let request = "PUT /v1/agent/leave HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    use std::io::{Read as _, Write as _};
    // The answer is waited for: a request whose client has left is not carried out.
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(daemon.ended().code(), Some(0));
}

#[test]
fn sighup_changes_what_can_change_and_names_what_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write("[logging]\nlevel = \"info\"\n");
    let daemon = Daemon::dev(&["--config", file.to_str().unwrap()]);
    daemon.say(&["register", "web", "--port", &daemon.addresses["HTTP API"].port().to_string()]);
    let proxy = daemon.addresses["HTTP proxy"];
    assert_eq!(http(proxy, "shop.example", "/v1/status/leader").unwrap().0, 404);

    write("[node]\ncontrol_threads = 3\n[[proxy.http.routes]]\nhost = \"shop.example\"\nservice = \"web\"\n");
    daemon.signal(Signal::HUP);
    assert_eq!(daemon.logged("changed")["key"], "proxy.http.routes");
    let later = "changed in the configuration; it takes effect after a restart";
    assert_eq!(daemon.logged(later)["key"], "node.control_threads");
    // The request reaches the service, which is the API: it answers, if only that it is not that host.
    eventually("the new route", || {
        let (status, _) = http(proxy, "shop.example", "/v1/status/leader").unwrap();
        (status != 404).then_some(())
    });

    write("[nod]\n");
    daemon.signal(Signal::HUP);
    let failure = daemon.logged("reload failed; the former configuration stays in effect");
    assert!(failure["error"].as_str().unwrap().contains("did you mean `node`?"), "{failure}");
    // The log says it a moment before readiness does.
    eventually("readiness to say so", || {
        let (status, body) = http(daemon.addresses["HTTP API"], "localhost", "/readyz").unwrap();
        (status == 503 && body.contains("[-] config")).then_some(())
    });
    write("");
    daemon.signal(Signal::HUP);
    eventually("a good reload", || {
        let (status, _) = http(daemon.addresses["HTTP API"], "localhost", "/readyz").unwrap();
        (status == 200).then_some(())
    });
}

#[test]
fn an_address_in_use_names_who_has_it_and_touches_nothing() {
    let first = Daemon::dev(&[]);
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = format!("dns.listen={}", first.addresses["DNS"]);
    let text = Daemon::try_start(Daemon::serving(&data).args(["--set", &taken])).err().unwrap();
    assert!(text.contains(&first.addresses["DNS"].to_string()), "{text}");
    assert!(text.contains(&format!("(pid {})", first.pid().as_raw_nonzero())), "{text}");
    assert!(text.contains("`dns.listen`"), "{text}");
    let made: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(made.iter().all(|name| name == "lock"), "only the claim comes before the addresses: {made:?}");
}

#[test]
fn a_data_directory_has_one_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let first = Daemon::serve(folder.path(), &[]);
    let text = Daemon::try_start(&mut Daemon::serving(folder.path())).err().unwrap();
    assert!(text.contains(&format!("(pid {})", first.pid().as_raw_nonzero())), "{text}");
}

#[test]
fn beyond_loopback_must_be_said_in_words() {
    let outside = ["--set", "api.listen=0.0.0.0:0"];
    let folder = tempfile::tempdir().unwrap();
    let text = Daemon::try_start(Daemon::serving(folder.path()).args(outside)).err().unwrap();
    assert!(text.contains("node.open_beyond_loopback = true"), "{text}");
    Daemon::serve(
        folder.path(),
        &["--set", "api.listen=0.0.0.0:0", "--set", "node.open_beyond_loopback=true"],
    );
}

#[test]
fn a_node_keeps_its_name_and_what_it_knew() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Daemon::serve(folder.path(), &["--node", "alpha"]);
    first.say(&["kv", "put", "a", "1"]);
    first.say(&["register", "web", "--port", "80"]);
    first.signal(Signal::TERM);
    assert_eq!(first.ended().code(), Some(0));
    let again = Daemon::serve(folder.path(), &[]);
    assert_eq!(again.say(&["kv", "get", "a"]), "1");
    assert!(again.say(&["instances", "web"]).contains("alpha"));
    drop(again);
    let text = Daemon::try_start(Daemon::serving(folder.path()).args(["--node", "beta"])).err().unwrap();
    assert!(text.contains("belongs to node \"alpha\""), "{text}");
}

#[test]
fn check_config_is_the_start_without_the_start() {
    let run = |arguments: &[&str]| {
        let output = clean(Command::new(PROGRAM).arg("check-config").args(arguments)).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let daemon = Daemon::dev(&[]);
    let taken = format!("dns.listen={}", daemon.addresses["DNS"]);
    let free = ["--set", "api.listen=127.0.0.1:0", "--set", "proxy.named=127.0.0.1:0"];
    let free = [free.as_slice(), &["--set", "proxy.http.listen=127.0.0.1:0", "--set", &taken]].concat();
    let (code, text) = run(&free);
    assert!(code == Some(1) && text.contains("holds that address"), "{text}");
    assert_eq!(run(&[free.as_slice(), &["--offline"]].concat()).0, Some(0));
    let (code, text) = run(&["--set", "dns.zoen=a"]);
    assert!(code == Some(2) && text.contains("did you mean `zone`?"), "{text}");
}

#[test]
fn netsel_clients_register_where_its_port_is_opened() {
    use std::io::{Read as _, Write as _};
    let folder = tempfile::tempdir().unwrap();
    // The flag opens the seed's ports; a `--set` of the same keys moves them.
    let daemon = Daemon::serve(folder.path(), &["--netsel", "--set", "netsel.listen=127.0.0.1:0"]);
    let mut stream = std::net::TcpStream::connect(daemon.addresses["NetSel"]).unwrap();
    let mut request = [0; 256];
    request[..3].copy_from_slice(b"job");
    stream.write_all(&request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let fields: Vec<_> = answer.split('|').collect();
    assert_eq!((fields[0], fields.len()), ("SUCCESS", 4), "{answer}");
    let services = daemon.say(&["services"]);
    assert!(services.lines().any(|line| line.starts_with("job ") && line.contains(fields[2])), "{services}");
}
