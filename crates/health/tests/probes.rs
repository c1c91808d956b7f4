//! Each kind of probe against small real servers.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod support;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use catalog::{Cadence, HttpProbe, Probe, Status};
use portolan_health::verdict::Finding;
use portolan_health::{Config, Prober};
use support::{answer, command, eventually, http, serve_bytes, tcp};
use tokio::net::TcpListener;

async fn run(probe: Probe) -> Finding {
    Prober::new(&Config { commands: true, ..Config::default() }).run(&probe).await
}

async fn run_http(probe: HttpProbe) -> Finding {
    run(Probe::Http { http: Box::new(probe), cadence: support::cadence(1000) }).await
}

/// What a probe of a server that answers `bytes` finds.
async fn ask(bytes: String) -> Finding {
    let (address, _) = serve_bytes(bytes).await;
    run_http(http(format!("http://{address}/health?full=1"))).await
}

#[tokio::test]
async fn tcp_passes_where_something_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert_eq!(run(tcp(address)).await.status, Status::Passing);
    drop(listener);
    let refused = run(tcp(address)).await;
    assert_eq!(refused.status, Status::Critical);
    assert!(refused.output.contains("refused"), "{}", refused.output);
}

#[tokio::test]
async fn tcp_tries_every_address_of_a_name() {
    // `localhost` may be ::1 first; the server listens on 127.0.0.1 alone.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    assert_eq!(run(tcp(format!("localhost:{port}"))).await.status, Status::Passing);
}

#[tokio::test]
async fn http_status_decides() {
    for (status, expected) in [
        ("200 OK", Status::Passing),
        ("204 No Content", Status::Passing),
        ("429 Too Many Requests", Status::Warning),
        ("301 Moved Permanently", Status::Critical),
        ("404 Not Found", Status::Critical),
        ("503 Service Unavailable", Status::Critical),
    ] {
        let finding = ask(answer(status, "", "")).await;
        assert_eq!(finding.status, expected, "{}", finding.output);
        assert!(finding.output.contains(status), "{}", finding.output);
    }
}

#[tokio::test]
async fn http_never_follows_a_redirect() {
    let (target, visits) = serve_bytes(answer("200 OK", "", "secret")).await;
    let finding = ask(answer("302 Found", &format!("location: http://{target}/\r\n"), "")).await;
    assert_eq!(finding.status, Status::Critical);
    assert!(!finding.output.contains("secret"));
    assert_eq!(visits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn http_sends_what_was_registered() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"ping") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream.write_all(answer("200 OK", "", "pong and more").as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap()
    });
    let probe = HttpProbe {
        method: "PUT".into(),
        headers: [("X-Probe".into(), vec!["a".into(), "b".into()]), ("Host".into(), vec!["web".into()])]
            .into(),
        body: "ping".into(),
        body_match: "pong".into(),
        ..http(format!("http://{address}/a/b?c=d"))
    };
    let finding = run_http(probe).await;
    assert_eq!(finding.status, Status::Passing, "{}", finding.output);
    let request = served.await.unwrap();
    assert!(request.starts_with("PUT /a/b?c=d HTTP/1.1\r\n"), "{request}");
    for line in ["x-probe: a\r\n", "x-probe: b\r\n", "host: web\r\n", "content-length: 4\r\n"] {
        assert!(request.to_lowercase().contains(line), "{line} in {request}");
    }
}

#[tokio::test]
async fn http_body_must_match_when_asked_to() {
    let (address, _) = serve_bytes(answer("200 OK", "", "all is lost")).await;
    let probe = HttpProbe { body_match: "all is well".into(), ..http(format!("http://{address}")) };
    let finding = run_http(probe).await;
    assert_eq!(finding.status, Status::Critical);
    assert!(finding.output.contains("all is lost"));
}

#[tokio::test]
async fn http_keeps_four_kib_of_an_endless_answer() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "é".repeat(1 << 20));
    let finding = ask(endless).await;
    assert_eq!(finding.status, Status::Passing);
    assert!(finding.output.len() <= 4096 && finding.output.len() > 4000, "{}", finding.output.len());
}

#[tokio::test]
async fn http_says_what_is_wrong_with_an_answer_or_a_url() {
    assert_eq!(ask("this is not HTTP\r\n\r\n".into()).await.status, Status::Critical);
    assert_eq!(
        ask(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(1 << 20))).await.status,
        Status::Critical
    );
    for (url, word) in [("ftp://127.0.0.1/", "http://"), ("not a url", "URL"), ("/only/a/path", "host")] {
        let finding = run_http(http(url.into())).await;
        assert_eq!(finding.status, Status::Critical);
        assert!(finding.output.contains(word), "{}", finding.output);
    }
}

#[tokio::test]
async fn a_silent_server_is_given_up_at_the_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let cadence = Cadence { interval_ms: 1000, timeout_ms: 50 };
    let finding = run(Probe::Http { http: Box::new(http(url)), cadence }).await;
    assert_eq!(finding.status, Status::Critical);
    assert!(finding.output.contains("within 50ms"), "{}", finding.output);
}

#[tokio::test]
async fn metadata_addresses_need_leave() {
    for url in
        ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/", "http://[::ffff:169.254.0.1]/"]
    {
        let finding = run_http(http(url.into())).await;
        assert_eq!(finding.status, Status::Critical);
        assert!(finding.output.contains("link_local"), "{}", finding.output);
    }
    assert!(run(tcp("169.254.169.254:80")).await.output.contains("link_local"));
}

mod grpc {
    use super::*;
    use support::grpc::serve;

    async fn ask(address: String) -> Finding {
        let address = address.into();
        let cadence = support::cadence(1000);
        run(Probe::Grpc { address, tls: false, tls_skip_verify: false, cadence }).await
    }

    #[tokio::test]
    async fn serving_passes_and_the_rest_is_critical() {
        let address = serve(None).await;
        for (target, status, word) in [
            (format!("{address}"), Status::Passing, "SERVING"),
            (format!("{address}/web"), Status::Passing, "SERVING"),
            (format!("{address}/db"), Status::Critical, "NOT_SERVING"),
            (format!("{address}/nobody"), Status::Critical, "gRPC status 5"),
        ] {
            let finding = ask(target).await;
            assert_eq!(finding.status, status, "{}", finding.output);
            assert!(finding.output.contains(word), "{}", finding.output);
        }
    }

    #[tokio::test]
    async fn a_server_of_another_protocol_is_critical() {
        let (address, _) = serve_bytes(answer("400 Bad Request", "", "")).await;
        assert_eq!(ask(address.to_string()).await.status, Status::Critical);
    }
}

mod programs {
    use super::*;

    #[tokio::test]
    async fn the_exit_status_decides() {
        for (code, expected) in [("0", Status::Passing), ("1", Status::Warning), ("2", Status::Critical)] {
            let finding =
                run(command(&["sh", "-c", &format!("echo out; echo err >&2; exit {code}")], 5_000)).await;
            assert_eq!(finding.status, expected, "{}", finding.output);
            assert!(
                finding.output.contains("out\n") && finding.output.contains("err\n"),
                "{}",
                finding.output
            );
        }
    }

    #[tokio::test]
    async fn arguments_are_not_given_to_a_shell() {
        let finding = run(command(&["echo", "$HOME; exit 2"], 5_000)).await;
        assert_eq!((finding.status, &*finding.output), (Status::Passing, "$HOME; exit 2\n"));
    }

    #[tokio::test]
    async fn a_missing_program_is_said() {
        let finding = run(command(&["/no/such/program"], 5_000)).await;
        assert_eq!(finding.status, Status::Critical);
        assert!(finding.output.contains("/no/such/program: No such file"), "{}", finding.output);
    }

    #[tokio::test]
    async fn the_end_of_a_long_output_is_kept_and_the_program_not_blocked() {
        let finding = run(command(&["sh", "-c", "seq 1 100000; echo the end"], 15_000)).await;
        assert_eq!(finding.status, Status::Passing);
        assert!(finding.output.len() <= 4096 && finding.output.ends_with("the end\n"));
    }

    #[tokio::test]
    async fn at_the_timeout_the_whole_group_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let pids = directory.path().join("pids");
        let script = format!("sleep 600 & echo $! $$ > {0}.tmp; mv {0}.tmp {0}; wait", pids.display());
        let started = Instant::now();
        let finding = run(command(&["sh", "-c", &script], 3_000)).await;
        assert!(started.elapsed() < Duration::from_secs(60));
        assert_eq!(finding.status, Status::Critical);
        let pids = std::fs::read_to_string(&pids).expect("the script ran");
        for pid in pids.split_whitespace() {
            // A zombie that nobody has waited for yet is dead as well.
            let stat = format!("/proc/{pid}/stat");
            eventually(&format!("process {pid} is gone"), || match std::fs::read_to_string(&stat) {
                Err(_) => Some(()),
                Ok(stat) => stat.rsplit(") ").next()?.starts_with(['Z', 'X']).then_some(()),
            })
            .await;
        }
    }

    #[tokio::test]
    async fn programs_are_off_unless_allowed() {
        let finding = Prober::new(&Config::default()).run(&command(&["true"], 5_000)).await;
        assert_eq!(finding.status, Status::Critical);
        assert!(finding.output.contains("commands = true"), "{}", finding.output);
    }
}
