//! The face as clients see it: real sockets, real `dig`.

use std::net::Ipv6Addr;
use std::time::Duration;

use portolan_dns as dns;
use route::Network6;

use crate::common::{self, Face, query, records};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_is_visible() {
    let face = Face::start(dns::Config::default()).await;
    face.register("web", "10.0.0.2", 8080);
    let answer = face.until(|face| {
        let answer = face.ask("web.service.consul", "A");
        records(&answer).contains(&"A 10.0.0.2".to_owned()).then_some(answer)
    });
    assert_eq!(records(&answer.await), ["A 10.0.0.2"]);
    assert_eq!(
        records(&face.ask("_web._tcp.service.consul", "SRV")),
        ["SRV 1 1 8080 0a000002.addr.dc1.consul"]
    );
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_question_opens_the_virtual_address() {
    let face = Face::start(dns::Config::default()).await;
    face.register("web", "10.0.0.2", 8080);
    face.until(|face| (!records(&face.ask("web.service.consul", "A")).is_empty()).then_some(())).await;
    let virtual_ip = face.virtual_ip("web");
    assert_eq!(records(&face.ask("web.svc.internal", "A")), [format!("A {virtual_ip}")]);
    assert_eq!(face.opened(), ["web"]);
    assert_eq!(records(&face.ask("web.svc.internal", "SRV")), ["SRV 1 1 18080 web.svc.internal"]);
    assert_eq!(records(&face.ask("web.endpoints.svc.internal", "A")), ["A 10.0.0.2"]);
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_question_may_be_for_ipv6_and_addresses_lead_back() {
    let face = Face::start(dns::Config::default()).await;
    let network = Network6 { base: "fd00:77::".parse().unwrap(), prefix: 64 };
    face.lead_six(network);
    face.register("web", "10.0.0.2", 8080);
    face.until(|face| (!records(&face.ask("web.service.consul", "A")).is_empty()).then_some(())).await;
    let like = network.like(face.virtual_ip("web").parse().unwrap());
    // Before anybody has asked for anything, and by who has not: a host's log holds addresses of all services.
    let nibbles = |address: Ipv6Addr| {
        let digits: Vec<String> =
            (0..32).map(|at| format!("{:x}", address.to_bits() >> (4 * at) & 15)).collect();
        format!("{}.ip6.arpa", digits.join("."))
    };
    let answer = face.until(|face| {
        let found = records(&face.ask(&nibbles(like), "PTR"));
        (!found.is_empty()).then_some(found)
    });
    assert_eq!(answer.await, ["PTR web.svc.internal."]);
    assert!(face.opened().is_empty());
    assert_eq!(records(&face.ask("web.svc.internal", "AAAA")), [format!("AAAA {like}")]);
    assert_eq!(face.opened(), ["web"]);
    // Of the rest of the network nobody else can say anything.
    let nobody = face.ask(&nibbles("fd00:77::1:2".parse().unwrap()), "PTR");
    assert_eq!((nobody[3] & 15, records(&nobody).len()), (3, 0), "no such name");
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tcp_answers_pipelined_queries() {
    let face = Face::start(dns::Config::default()).await;
    face.register("web", "10.0.0.2", 8080);
    face.until(|face| (!records(&face.ask("web.service.consul", "A")).is_empty()).then_some(())).await;
    let mut stream = tokio::net::TcpStream::connect(face.address).await.unwrap();
    let mut bytes = Vec::new();
    for id in 0..50u16 {
        let query = query(id, "web.service.consul", "A");
        bytes.extend_from_slice(&(query.len() as u16).to_be_bytes());
        bytes.extend_from_slice(&query);
    }
    stream.write_all(&bytes).await.unwrap();
    let mut ids = Vec::new();
    for _ in 0..50 {
        let mut answer = vec![0; usize::from(stream.read_u16().await.unwrap())];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(records(&answer), ["A 10.0.0.2"]);
        ids.push(u16::from_be_bytes([answer[0], answer[1]]));
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..50).collect::<Vec<_>>());
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_and_oversized_tcp_clients_are_cut_off() {
    let tcp = dns::TcpLimits { idle_timeout: Duration::from_millis(50), ..dns::TcpLimits::default() };
    let face = Face::start(dns::Config { tcp, ..dns::Config::default() }).await;
    let mut silent = tokio::net::TcpStream::connect(face.address).await.unwrap();
    let mut oversized = tokio::net::TcpStream::connect(face.address).await.unwrap();
    oversized.write_all(&[0xff, 0xff]).await.unwrap();
    for stream in [&mut silent, &mut oversized] {
        let end = tokio::time::timeout(Duration::from_secs(10), stream.read(&mut [0; 16])).await.unwrap();
        assert!(matches!(end, Ok(0) | Err(_)));
    }
    let metrics = face.metrics();
    assert!(metrics.contains("dns_tcp_closed_total{reason=\"idle\"} 1"), "{metrics}");
    assert!(metrics.contains("dns_tcp_closed_total{reason=\"oversized\"} 1"), "{metrics}");
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_counted_and_others_are_served() {
    let face = Face::start(dns::Config::default()).await;
    face.register("web", "10.0.0.2", 8080);
    face.until(|face| (!records(&face.ask("web.service.consul", "A")).is_empty()).then_some(())).await;
    let pointer_loop = b"\x12\x34\x01\x00\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
    face.send(b"");
    face.send(b"scrap");
    face.send(&[0xff; 200]);
    face.send(&vec![0; 4000]);
    assert_eq!(face.exchange(pointer_loop)[3] & 0x0f, 1, "FORMERR");
    assert_eq!(records(&face.ask("web.service.consul", "A")), ["A 10.0.0.2"]);
    let metrics = face.metrics();
    assert!(metrics.contains("dns_malformed_total 1"), "{metrics}");
    assert!(metrics.contains("dns_dropped_total{reason=\"oversized\"} 1"), "{metrics}");
    assert!(metrics.contains("dns_dropped_total{reason=\"unanswerable\"} 3"), "{metrics}");
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dig_reads_every_kind_of_answer() {
    let face = Face::start(dns::Config::default()).await;
    face.register("web", "10.0.0.2", 8080);
    face.until(|face| (!records(&face.ask("web.service.consul", "A")).is_empty()).then_some(())).await;
    let Some(version) = common::dig(&["-v"]) else {
        println!("skipped: dig is not on PATH");
        return face.stop().await;
    };
    assert!(version.success());
    let port = face.address.port().to_string();
    let dig =
        |arguments: &[&str]| common::dig_output(&[&["@127.0.0.1", "-p", &port][..], arguments].concat());
    assert_eq!(dig(&["+short", "web.service.consul"]), "10.0.0.2\n");
    assert_eq!(dig(&["+short", "+tcp", "web.service.consul"]), "10.0.0.2\n");
    assert_eq!(dig(&["+short", "-x", "10.0.0.2"]), "web.svc.internal.\n");
    assert!(dig(&["WEB.Service.Consul", "AAAA"]).contains(";WEB.Service.Consul."), "case is kept");
    let negative = dig(&["nothing.svc.internal"]);
    assert!(negative.contains("NXDOMAIN") && negative.contains("SOA"), "{negative}");
    let txt = dig(&["+short", "web.endpoints.svc.internal", "TXT"]);
    assert!(txt.contains("\"id=web\" \"node=here\" \"address=10.0.0.2:8080\""), "{txt}");
    let any = dig(&["web.service.consul", "ANY"]);
    assert!(any.contains("ANSWER: 1"), "{any}");
    assert!(dig(&["example.org"]).contains("REFUSED"));
    assert!(dig(&["+edns=1", "+noednsneg", "web.service.consul"]).contains("BADVERS"));
    assert!(dig(&["+opcode=notify", "web.service.consul"]).contains("NOTIMP"));
    assert!(dig(&["consul", "SOA"]).contains("here.node.dc1.consul. hostmaster.consul."));
    face.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_beyond_the_limit_are_closed() {
    let tcp = dns::TcpLimits { max_connections: 2, ..dns::TcpLimits::default() };
    let face = Face::start(dns::Config { tcp, ..dns::Config::default() }).await;
    let mut guests = Vec::new();
    for _ in 0..3 {
        guests.push(tokio::net::TcpStream::connect(face.address).await.unwrap());
    }
    let refused = guests.last_mut().unwrap();
    let end = tokio::time::timeout(Duration::from_secs(10), refused.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    assert!(face.metrics().contains("dns_tcp_closed_total{reason=\"too_many\"} 1"));
    face.stop().await;
}
