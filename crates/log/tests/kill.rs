//! `kill -9` at any moment loses nothing that was acknowledged.
//!
//! This binary starts itself as a child that appends, saves checkpoints and prints what was decided; the
//! parent kills it at a random moment and looks. `PORTOLAN_KILLS=n` kills n times in place of the default.

// Helpers of tests fail by panicking, as tests do.
#![allow(clippy::panic, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use portolan_log::solo::{self, Config};
use portolan_log::{Event, EventReceiver, Log};

const DIR: &str = "PORTOLAN_LOG_KILL_DIR";
const LIFE: &str = "PORTOLAN_LOG_KILL_LIFE";
/// Bytes that tell one command from all others: its life and its number there.
const NAME: usize = 8;

fn config(dir: &Path) -> Config {
    let mut config = Config::new(dir);
    // Small, so that segments end, are dropped and used again all the time.
    config.segment_bytes = 256 << 10;
    config.max_command_bytes = 4096;
    config.max_batch_bytes = 32 << 10;
    config.seal_after = Duration::from_millis(3);
    config
}

/// The names of all commands in order, as far as they are decided.
#[derive(Default)]
struct Names(Vec<u64>);

impl Names {
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::Restore(checkpoint) => {
                self.0 = checkpoint.state.chunks(NAME).map(name).collect();
                assert_eq!(self.0.len() as u64, checkpoint.index);
            }
            Event::Entries(entries) => {
                for entry in entries {
                    self.0.push(name(&entry.payload));
                    assert_eq!(self.0.len() as u64, entry.index);
                }
            }
            Event::Replayed => return false,
            Event::Stopped(error) => panic!("it stopped: {error}"),
        }
        true
    }

    fn replay(events: &mut EventReceiver) -> Self {
        let mut names = Self::default();
        while names.take(events.blocking_recv().expect("a stream that says Replayed")) {}
        names
    }
}

fn name(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes[..NAME].try_into().expect("a command starts with its name"))
}

/// Not a test by itself: what the parent starts and kills.
#[test]
fn child() {
    let (Ok(dir), Ok(life)) = (std::env::var(DIR), std::env::var(LIFE)) else { return };
    let life: u64 = life.parse().expect("a number");
    let mut rng = fastrand::Rng::with_seed(life);
    let (log, mut events) = solo::open(&config(Path::new(&dir))).expect("it opens");
    let mut names = Names::replay(&mut events);
    let mut out = std::io::stdout().lock();
    let mut said = names.0.len();
    for number in 0.. {
        let mut payload = (life << 32 | number).to_le_bytes().to_vec();
        payload.resize(NAME + rng.usize(..600), 1);
        log.append(payload.into()).expect("room");
        if rng.u8(..16) != 0 {
            continue;
        }
        let due = said + usize::try_from(log.status().queued).expect("small");
        while names.0.len() < due.max(said + 1) {
            assert!(names.take(events.blocking_recv().expect("the stream goes on")));
        }
        for (index, name) in names.0.iter().enumerate().skip(said) {
            writeln!(out, "acknowledged {} {name}", index + 1).expect("a parent that reads");
        }
        out.flush().expect("a parent that reads");
        said = names.0.len();
        if rng.u8(..6) == 0 {
            let state: Vec<u8> = names.0.iter().flat_map(|name| name.to_le_bytes()).collect();
            // Not waited for: the kill may come in the middle of it.
            drop(log.save_checkpoint(said as u64, Box::new(move |out| out.write_all(&state))));
        }
    }
}

fn spawn(dir: &Path, life: u64) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this test has a path"));
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command.env(DIR, dir).env(LIFE, life.to_string()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.spawn().expect("it starts itself")
}

/// Lets a child live for a while; what it acknowledged.
fn one_life(dir: &Path, life: u64, rng: &mut fastrand::Rng) -> Vec<(u64, u64)> {
    let mut child = spawn(dir, life);
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let (told, hears) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || listen(out, &told));
    if rng.u8(..5) > 0 {
        // Most are killed at work, the others at any moment of their start.
        let _ = hears.recv_timeout(Duration::from_secs(20));
    }
    std::thread::sleep(Duration::from_micros(rng.u64(..25_000)));
    child.kill().expect("it is killed");
    let status = child.wait().expect("it is gone");
    assert!(status.code().is_none(), "life {life} ended by itself: {status}");
    reader.join().expect("no panic")
}

/// What a child says, up to the line that the kill cut short.
fn listen(mut out: impl BufRead, told: &std::sync::mpsc::Sender<()>) -> Vec<(u64, u64)> {
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    while out.read_line(&mut line).is_ok() && line.ends_with('\n') {
        // The test harness says things as well, at times on the same line.
        let mut words = line.split_whitespace().skip_while(|word| *word != "acknowledged").skip(1);
        let mut number = || words.next().map(|word| word.parse().expect("a number"));
        if let (Some(index), Some(name)) = (number(), number()) {
            acknowledged.push((index, name));
            // Only the first is waited for.
            let _ = told.send(());
        }
        line.clear();
    }
    acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    if std::env::var(DIR).is_ok() {
        return;
    }
    let kills = std::env::var("PORTOLAN_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let mut rng = fastrand::Rng::with_seed(1);
    let mut acknowledged: Vec<(u64, u64)> = Vec::new();
    let (mut replayed, mut checkpoints) = (0, 0);
    for life in 1..=kills {
        acknowledged.extend(one_life(dir.path(), life, &mut rng));
        if life % 3 != 0 && life != kills {
            // The next child starts from what the kill left.
            continue;
        }
        let (log, mut events) = solo::open(&config(dir.path())).expect("it opens after a kill");
        let names = Names::replay(&mut events).0;
        for (index, name) in &acknowledged {
            let place = usize::try_from(index - 1).expect("small");
            assert_eq!(names.get(place), Some(name), "entry {index}, acknowledged before life {life} ended");
        }
        let mut known = names.clone();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), names.len(), "nothing is there twice");
        let status = log.status();
        replayed += status.last_index - status.checkpoint_index;
        checkpoints += u64::from(status.checkpoint_index > 0);
        runtime.block_on(log.close());
    }
    println!(
        "{kills} kills, {} acknowledged, {replayed} replayed, {checkpoints} starts from a checkpoint",
        acknowledged.len()
    );
    assert!(acknowledged.len() as u64 > kills && checkpoints > 0);
}
