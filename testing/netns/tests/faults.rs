//! Every fault is measured here: one that silently does not apply would make every test above it worthless.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use portolan_netns::{Clock, Daemon, Disk, LIMIT, Lab, Link, Start, need};
use rustix::process::Signal;

const PORT: u16 = 7000;

/// Sends datagrams from one host to another: which of `count` arrived, and after how long.
fn send(lab: &Lab, from: usize, to: usize, count: u32) -> Vec<Option<Duration>> {
    let target = SocketAddr::from((lab.hosts[to].address, PORT));
    let receiver = lab.hosts[to].enter(|| UdpSocket::bind(target).unwrap());
    let sender = lab.hosts[from].enter(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    // Each host must know the other's hardware address first; asking for it is not what is measured.
    lab.hosts[from].ip(&neighbour(lab, to)).unwrap();
    let mut arrived = vec![None; count as usize];
    let origin = Instant::now();
    let wait = Duration::from_millis(300);
    receiver.set_read_timeout(Some(wait)).unwrap();
    for number in 0..count {
        let mut message = [0; 12];
        message[..4].copy_from_slice(&number.to_be_bytes());
        message[4..].copy_from_slice(&(origin.elapsed().as_nanos() as u64).to_be_bytes());
        sender.send_to(&message, target).unwrap();
        // A few at a time, so that no buffer overflows.
        if number % 16 == 15 {
            take(&receiver, origin, &mut arrived, Duration::from_micros(200));
        }
    }
    take(&receiver, origin, &mut arrived, wait);
    arrived
}

fn take(receiver: &UdpSocket, origin: Instant, arrived: &mut [Option<Duration>], wait: Duration) {
    receiver.set_read_timeout(Some(wait)).unwrap();
    let mut message = [0; 12];
    while receiver.recv(&mut message).is_ok() {
        let number = u32::from_be_bytes(message[..4].try_into().unwrap());
        let sent = Duration::from_nanos(u64::from_be_bytes(message[4..].try_into().unwrap()));
        arrived[number as usize] = Some(origin.elapsed() - sent);
    }
}

fn neighbour(lab: &Lab, to: usize) -> String {
    let address = lab.hosts[to].address;
    format!("neigh replace {address} lladdr 02:00:00:00:00:{:02x} dev eth0\n", to + 1)
}

fn share(arrived: &[Option<Duration>]) -> f64 {
    arrived.iter().flatten().count() as f64 / arrived.len() as f64
}

fn fastest(arrived: &[Option<Duration>]) -> Duration {
    *arrived.iter().flatten().min().unwrap()
}

#[test]
fn a_fine_link_loses_nothing_and_hardly_delays() {
    let lab = need!(Lab::new(&["a", "b"]));
    let arrived = send(&lab, 0, 1, 200);
    assert_eq!(share(&arrived), 1.0);
    assert!(fastest(&arrived) < Duration::from_millis(20), "{:?}", fastest(&arrived));
}

#[test]
fn a_cut_is_one_way_until_it_is_made_both_ways() {
    let lab = need!(Lab::new(&["a", "b"]));
    lab.switch.set(0, 1, Link::CUT);
    assert_eq!((share(&send(&lab, 0, 1, 20)), share(&send(&lab, 1, 0, 20))), (0.0, 1.0));
    lab.switch.set_both(0, 1, Link::CUT);
    assert_eq!((share(&send(&lab, 0, 1, 20)), share(&send(&lab, 1, 0, 20))), (0.0, 0.0));
    lab.switch.heal();
    assert_eq!((share(&send(&lab, 0, 1, 20)), share(&send(&lab, 1, 0, 20))), (1.0, 1.0));
}

#[test]
fn a_split_separates_the_parts_and_nothing_inside_them() {
    let lab = need!(Lab::new(&["a", "b", "c"]));
    lab.switch.split(&[0]);
    let passes = |from, to| share(&send(&lab, from, to, 10)) == 1.0;
    assert!(!passes(0, 1) && !passes(2, 0) && passes(1, 2) && passes(2, 1));
    // One host sees all, the others only it.
    lab.switch.heal();
    lab.switch.set_both(1, 2, Link::CUT);
    assert!(passes(0, 1) && passes(0, 2) && passes(1, 0) && !passes(1, 2) && !passes(2, 1));
}

#[test]
fn loss_is_what_was_asked_for() {
    let lab = need!(Lab::new(&["a", "b"]));
    lab.switch.set(0, 1, Link { loss: 0.3, ..Link::FINE });
    let share = share(&send(&lab, 0, 1, 2000));
    // Far outside of what 2,000 draws would do by chance (five standard deviations).
    assert!((0.65..0.75).contains(&share), "{share}");
}

#[test]
fn delay_is_what_was_asked_for() {
    let lab = need!(Lab::new(&["a", "b"]));
    lab.switch.set(0, 1, Link { delay: Duration::from_millis(50), ..Link::FINE });
    let (there, back) = (fastest(&send(&lab, 0, 1, 20)), fastest(&send(&lab, 1, 0, 20)));
    assert!((Duration::from_millis(50)..Duration::from_millis(200)).contains(&there), "{there:?}");
    assert!(back < Duration::from_millis(50), "{back:?}");
}

#[test]
fn a_stalled_disk_holds_writers_until_it_goes_on_and_a_full_one_refuses_them() {
    let disk = need!(Disk::mount(16));
    let synced = AtomicBool::new(false);
    let stall = disk.stall().unwrap();
    let write = |name: &str| {
        let mut file = File::create(disk.path().join(name))?;
        file.write_all(&[7; 65_536])?;
        file.sync_all()
    };
    let begin = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            write("held").unwrap();
            synced.store(true, Ordering::SeqCst);
        });
        // It has had a hundred times what it takes.
        while begin.elapsed() < Duration::from_millis(300) {
            assert!(!synced.load(Ordering::SeqCst), "the disk does not stall");
            thread::yield_now();
        }
        drop(stall);
    });
    assert!(synced.load(Ordering::SeqCst));

    let filling = disk.fill().unwrap();
    assert_eq!(write("refused").unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    drop(filling);
    write("taken").unwrap();
}

fn daemon<'a>(
    lab: &'a Lab,
    folder: &Path,
    clock: Option<&'a Clock>,
) -> Result<Start<'a>, portolan_netns::Missing> {
    let start = Start::new(&lab.hosts[0], folder.join("data"))?;
    Ok(match clock {
        Some(clock) => start.by(clock),
        None => start,
    })
}

#[test]
fn a_clock_jumps_for_one_daemon_and_its_monotonic_clock_does_not() {
    let lab = need!(Lab::new(&["a"]));
    let clock = need!(Clock::new());
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(daemon(&lab, folder.path(), Some(&clock))).run().unwrap();
    let dates = |daemon: &Daemon| {
        let answer = daemon.ask(LIMIT, "GET", "/v1/status/leader", "").unwrap();
        answer.header("date").expect("answers carry a date").to_owned()
    };
    let hour_of = |date: &str| -> u32 { date[17..19].parse().unwrap() };
    let before = dates(&daemon);
    clock.set_offset_s(3600).unwrap();
    let after = daemon.eventually("a date an hour ahead", |daemon| {
        let date = dates(daemon);
        // Two where the hour ended in between.
        let ahead = (hour_of(&date) + 24 - hour_of(&before)) % 24;
        (1..=2).contains(&ahead).then_some(())
    });
    after.unwrap();
    // Blocking queries wait by the monotonic clock: a second is still a second, not an hour and not nothing.
    let index = daemon.ask(LIMIT, "GET", "/v1/catalog/services", "").unwrap();
    let index = index.header("x-consul-index").unwrap().to_owned();
    let begin = Instant::now();
    daemon.ask(LIMIT, "GET", &format!("/v1/catalog/services?index={index}&wait=1s"), "").unwrap();
    assert!((Duration::from_millis(900)..Duration::from_secs(30)).contains(&begin.elapsed()));
}

#[test]
fn a_stopped_daemon_answers_nothing_until_it_goes_on() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let daemon = need!(daemon(&lab, folder.path(), None)).run().unwrap();
    let answers = || daemon.ask(Duration::from_millis(300), "GET", "/v1/status/leader", "").is_ok();
    assert!(answers());
    daemon.signal(Signal::STOP).unwrap();
    daemon.eventually("no answer", |_| (!answers()).then_some(())).unwrap();
    daemon.signal(Signal::CONT).unwrap();
    daemon.eventually("an answer", |_| answers().then_some(())).unwrap();
}

#[test]
fn a_daemon_goes_with_the_thread_that_started_it() {
    let lab = need!(Lab::new(&["a"]));
    let folder = tempfile::tempdir().unwrap();
    let start = need!(daemon(&lab, folder.path(), None));
    // As if the test had been killed: nothing is dropped.
    let pid = thread::scope(|scope| {
        let started = scope.spawn(|| {
            let daemon = std::mem::ManuallyDrop::new(start.run().unwrap());
            daemon.pid()
        });
        started.join().unwrap()
    });
    // Nobody waits for it any more than init would: a zombie is dead.
    let dead = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        (stat.is_empty() || stat.contains(") Z ")).then_some(())
    };
    peers::until(LIMIT, "the daemon to die", dead).unwrap();
}
