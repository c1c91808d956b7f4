//! How long a change of a public name waits for its answer that follows another one. Nothing of ours takes part: the
//! changes are `nsupdate`'s. Figures are printed and not judged.
//!
//! Knot plans by whole seconds of the clock. After each change it plans to notify other servers a second later; a change
//! that comes in the very second for which that is planned is planned for the same second, and the timer, which runs a
//! whole second from the first change, is not set anew. So a change waits for it when the clock's second has changed since
//! the one before and less than a second has passed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

mod servers;

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use peers::until;
use servers::{LIMIT, SECRET, Server, dig};

/// One change of one record, in a process of its own; how long it took.
fn change(server: &Server, line: &str) -> Duration {
    let mut command = Command::new(peers::tool("nsupdate").unwrap());
    command.args(["-v", "-y", &format!("hmac-sha256:ddns-key:{SECRET}")]);
    let begun = Instant::now();
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let script = format!("server 127.0.0.1 {}\nzone example.test\n{line}\nsend\n", server.port);
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{line}");
    begun.elapsed()
}

/// Waits for this part of the next second.
fn wait_for(part: Duration) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let second = Duration::from_secs(1);
    let within = Duration::from_nanos(now.subsec_nanos().into());
    std::thread::sleep(if within < part { part - within } else { part + second - within });
}

/// Changes that follow another one after 0.3 s: those of the same second, or those of the next.
fn measure(server: &Server, name: &str, crosses: bool) {
    let (first, second) = if crosses { (800, 100) } else { (200, 500) };
    let pairs = if std::env::var_os("PORTOLAN_EXPOSURE_CUTS").is_some() { 20 } else { 1 };
    let mut took: Vec<Duration> = (0..pairs)
        .map(|_| {
            // Whatever was planned before is over.
            std::thread::sleep(Duration::from_millis(1200));
            wait_for(Duration::from_millis(first));
            change(server, "update add late.example.test 60 A 192.0.2.7");
            wait_for(Duration::from_millis(second));
            change(server, "update delete late.example.test A")
        })
        .collect();
    until(LIMIT, "the name to go", || dig(server.port, "late.example.test", "A").is_empty().then_some(()))
        .unwrap();
    took.sort();
    let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
    let which = if crosses { "in the next second" } else { "in the same second" };
    println!(
        "figure: {name}: {pairs} changes, each 0.3 s after another, {which}: answered in {median:?}, at most {longest:?}"
    );
}

#[test]
fn a_change_that_follows_another_may_wait_for_the_server() {
    if let Err(missing) = peers::tool("nsupdate") {
        return println!("{missing}");
    }
    let both = [(Server::knot(), "Knot"), (Server::bind(), "BIND")].map(|(server, name)| {
        std::thread::spawn(move || match server {
            Ok(server) => [false, true].into_iter().for_each(|crosses| measure(&server, name, crosses)),
            Err(missing) => println!("{missing}"),
        })
    });
    both.into_iter().for_each(|thread| thread.join().unwrap());
}
