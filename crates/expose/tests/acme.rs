//! Certificates from a real authority: pebble, which looks at names itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod servers;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use peers::Running;
use portolan_expose::acme::{Acme, Certified, Challenge, Inputs, Proofs, Standing, run};
use portolan_expose::names::Provider;
use relay::tls::Certificates;
use servers::{LIMIT, SECRET, Server};
use state::{Reader, channel, drain};

struct Pebble {
    directory: String,
    folder: tempfile::TempDir,
    running: Running,
}

impl Pebble {
    /// One that looks names up at this server, and asks them at this port.
    fn start(names: &Server, http: u16) -> Result<Pebble, String> {
        let program = peers::tool("pebble").map_err(|missing| missing.to_string())?;
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let [port, manage, tls] = [0; 3].map(|_| peers::reserve_port().unwrap());
        let place = folder.path().display();
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{manage}",
            "certificate": "{place}/cert.pem", "privateKey": "{place}/key.pem", "httpPort": {http}, "tlsPort": {tls},
            "ocspResponderURL": "", "externalAccountBindingRequired": false}}}}"#
        );
        std::fs::write(folder.path().join("pebble.json"), config).unwrap();
        let mut command = Command::new(program);
        command.arg("-config").arg(folder.path().join("pebble.json"));
        command.args(["-dnsserver", &format!("127.0.0.1:{}", names.port)]).env("PEBBLE_VA_NOSLEEP", "1");
        let mut running = Running::start(&mut command).unwrap();
        let there = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
        running.wait_until(LIMIT, "pebble to listen", there).unwrap();
        Ok(Pebble { directory: format!("https://localhost:{port}/dir"), folder, running })
    }

    fn settings(&self, challenge: Challenge) -> Acme {
        Acme {
            terms_agreed: true,
            directory: self.directory.clone(),
            contact: vec!["mailto:house@example.test".into()],
            ca: Some(self.folder.path().join("cert.pem")),
            challenge,
            retry: Duration::from_secs(1),
            dns_wait: Duration::ZERO,
            ..Acme::default()
        }
    }
}

/// Answers challenges as the public listener does.
fn answer(listener: TcpListener, proofs: Reader<Proofs>) {
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            let token = line.split(' ').nth(1).and_then(|path| path.rsplit('/').next()).unwrap_or_default();
            let said = proofs.now().get(token).map_or_else(String::new, ToString::to_string);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", said.len());
            let _ = stream.write_all(format!("{head}{said}").as_bytes());
        }
    });
}

async fn standing(
    certified: &mut Reader<Certified>,
    name: &str,
    wanted: impl Fn(&Standing) -> bool,
) -> Standing {
    let look = async {
        loop {
            if let Some(standing) = certified.now().get(name).filter(|standing| wanted(standing)) {
                return standing.clone();
            }
            certified.next().await.unwrap();
        }
    };
    match tokio::time::timeout(2 * LIMIT, look).await {
        Ok(found) => found,
        Err(_) => panic!("it stands otherwise: {:?}", certified.now()),
    }
}

fn holds(standing: &Standing) -> bool {
    matches!(standing, Standing::Holds { trouble: None, .. })
}

struct Keeping {
    certificates: Arc<Certificates>,
    certified: Reader<Certified>,
    trigger: state::DrainTrigger,
    task: tokio::task::JoinHandle<()>,
}

fn keep(
    settings: Acme,
    names: &[&str],
    provider: Option<Arc<dyn Provider>>,
    folder: &std::path::Path,
    listener: &TcpListener,
) -> Keeping {
    let wanted: BTreeSet<Arc<str>> = names.iter().map(|name| Arc::from(*name)).collect();
    let (_wanted, wanted) = channel(wanted);
    let (proofs, shown) = channel(Proofs::default());
    let (told, certified) = channel(Certified::default());
    answer(listener.try_clone().unwrap(), shown);
    let certificates = Certificates::new();
    let (trigger, drain) = drain();
    let inputs = Inputs {
        wanted,
        proofs,
        names: provider,
        certificates: certificates.clone(),
        folder: Some(folder.to_owned()),
        certified: told,
    };
    let task = tokio::spawn(async move {
        let _held = _wanted;
        run(settings, inputs, drain).await;
    });
    Keeping { certificates, certified, trigger, task }
}

#[tokio::test]
async fn a_name_gets_a_certificate_over_http_and_keeps_it_over_a_restart() {
    let names = match Server::bind() {
        Ok(names) => names,
        Err(missing) => return println!("{missing}"),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut pebble = match Pebble::start(&names, listener.local_addr().unwrap().port()) {
        Ok(pebble) => pebble,
        Err(missing) => return println!("{missing}"),
    };
    let kept = tempfile::tempdir().unwrap();
    let settings = pebble.settings(Challenge::Http01);
    let mut first =
        keep(settings.clone(), &["ns.example.test", "gone.example.test"], None, kept.path(), &listener);
    standing(&mut first.certified, "ns.example.test", holds).await;
    assert_eq!(first.certificates.names(), ["ns.example.test"]);
    // Nobody has that name: the authority says so, and is left alone for a while.
    let said =
        |standing: &Standing| matches!(standing, Standing::Missing(why) if why.contains("gone.example.test"));
    standing(&mut first.certified, "gone.example.test", said).await;
    first.trigger.start();
    first.task.await.unwrap();
    pebble.running.kill();

    let mut second = keep(settings, &["ns.example.test", "gone.example.test"], None, kept.path(), &listener);
    standing(&mut second.certified, "ns.example.test", holds).await;
    assert_eq!(second.certificates.names(), ["ns.example.test"]);
    second.trigger.start();
    second.task.await.unwrap();
}

#[tokio::test]
async fn a_wildcard_is_proven_in_the_dns() {
    let names = match Server::bind() {
        Ok(names) => names,
        Err(missing) => return println!("{missing}"),
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let pebble = match Pebble::start(&names, listener.local_addr().unwrap().port()) {
        Ok(pebble) => pebble,
        Err(missing) => return println!("{missing}"),
    };
    let kept = tempfile::tempdir().unwrap();
    let provider: Arc<dyn Provider> = Arc::new(names.provider("house", SECRET));
    let settings = pebble.settings(Challenge::Dns01);
    let mut keeping = keep(settings, &["*.example.test"], Some(provider), kept.path(), &listener);
    standing(&mut keeping.certified, "*.example.test", holds).await;
    assert!(keeping.certificates.has(Some("www.example.test")));
    assert_eq!(servers::dig(names.port, "_acme-challenge.example.test", "TXT"), Vec::<String>::new());
    keeping.trigger.start();
    keeping.task.await.unwrap();
}
