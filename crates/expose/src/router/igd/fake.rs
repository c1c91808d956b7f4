//! What real routers do and miniupnpd does not: a router that answers from a list.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::description::Service;
use super::{AS_ASKED, Igd};
use crate::http::Base;
use crate::router::{Gateway as _, MapError, Mapping};
use crate::wish::{Port, Protocol};

const KIND: &str = "urn:schemas-upnp-org:service:WANIPConnection:1";

/// Answers to `AddPortMapping` in their order; everything else is "no such entry". Keeps the leases that it
/// was asked for.
struct Fake {
    address: SocketAddr,
    leases: Arc<Mutex<Vec<String>>>,
}

fn fault(code: u32) -> String {
    format!(
        "<e><UPnPError><errorCode>{code}</errorCode><errorDescription>no</errorDescription></UPnPError></e>"
    )
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    text.split_once(from)?.1.split_once(to).map(|(value, _)| value)
}

impl Fake {
    async fn start(answers: Vec<String>) -> Fake {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let fake = Fake { address: listener.local_addr().unwrap(), leases: Arc::default() };
        let leases = fake.leases.clone();
        tokio::spawn(async move {
            let mut answers = answers.into_iter();
            let mut hung = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = String::new();
                let mut buffer = [0; 4096];
                while !request.contains("</s:Envelope>") {
                    let Ok(length @ 1..) = stream.read(&mut buffer).await else { break };
                    request.push_str(&String::from_utf8_lossy(&buffer[..length]));
                }
                let adds = between(&request, "<NewLeaseDuration>", "</NewLeaseDuration>");
                let body = match adds {
                    Some(lease) => {
                        leases.lock().unwrap().push(lease.to_owned());
                        answers.next().unwrap_or_else(|| fault(501))
                    }
                    None => fault(714),
                };
                if body == HANG {
                    hung.push(stream);
                    continue;
                }
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                let whole = if body.starts_with("HTTP/1.1") { body } else { head + &body };
                drop(stream.write_all(whole.as_bytes()).await);
            }
        });
        fake
    }

    fn router(&self) -> Igd {
        let base = Base::parse(&format!("http://{}", self.address)).unwrap();
        Igd {
            name: "a fake".into(),
            router: self.address.ip(),
            client: Ipv4Addr::LOCALHOST,
            service: Service { kind: KIND, base, path: "/ctl".into() },
            lease: AtomicU32::new(AS_ASKED),
        }
    }

    fn leases(&self) -> Vec<String> {
        self.leases.lock().unwrap().clone()
    }
}

fn mapping() -> Mapping {
    Mapping {
        external: Port { protocol: Protocol::Tcp, number: 443 },
        internal: 443,
        description: "d".into(),
    }
}

const LEASE: Duration = Duration::from_secs(300);
/// An answer that never comes.
const HANG: &str = "";
const REDIRECT: &str = "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/ctl\r\ncontent-length: 0\r\n\r\n";
const DONE: &str = "<e><u:AddPortMappingResponse xmlns:u=\"x\"/></e>";

#[tokio::test]
async fn routers_get_the_lease_that_they_know_and_are_not_asked_twice() {
    for (faults, tried) in [
        (vec![725], vec!["300", "0"]),
        (vec![402], vec!["300", "0"]),
        (vec![501], vec!["300", "0"]),
        (vec![402, 402], vec!["300", "0", "604800"]),
    ] {
        let mut answers: Vec<String> = faults.into_iter().map(fault).collect();
        answers.extend([DONE.to_owned(), DONE.to_owned()]);
        let fake = Fake::start(answers).await;
        let router = fake.router();
        let granted = router.map(&mapping(), LEASE).await.unwrap();
        assert_eq!(fake.leases(), tried);
        assert_eq!(granted.as_secs().to_string(), tried[tried.len() - 1]);
        // It is known now.
        assert_eq!(router.map(&mapping(), LEASE).await.unwrap(), granted);
        assert_eq!(fake.leases().len(), tried.len() + 1);
    }
}

#[tokio::test]
async fn refusals_are_told_by_what_they_mean() {
    for (answer, is_meant) in [
        (fault(606), (|error| matches!(error, MapError::Forbidden(_))) as fn(&MapError) -> bool),
        (fault(718), |error| matches!(error, MapError::Held(_))),
        (fault(728), |error| matches!(error, MapError::Unable(_))),
        (fault(605), |error| matches!(error, MapError::Refused(_))),
        ("<html>I am a login page</html>".into(), |error| matches!(error, MapError::Silent(_))),
        (REDIRECT.into(), |error| matches!(error, MapError::Silent(_))),
        (HANG.into(), |error| matches!(error, MapError::Silent(_))),
        ("<a>".repeat(1 << 18), |error| matches!(error, MapError::Silent(_))),
        ("<!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>".into(), |error| matches!(error, MapError::Silent(_))),
    ] {
        let fake = Fake::start(vec![answer]).await;
        let error = fake.router().map(&mapping(), LEASE).await.unwrap_err();
        assert!(is_meant(&error), "{error}");
        assert_eq!(fake.leases(), ["300"], "{error}");
    }
}
