//! What the solo engine does on this machine's disk, beside what the disk itself does.
//!
//! `cargo run --profile fast -p portolan-log --example append_bench [directory] [seconds per line]`

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use portolan_log::disk::{Directory, Disk};
use portolan_log::solo::{self, Config, Solo};
use portolan_log::{Event, EventReceiver, Log, LogError};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let mut args = std::env::args().skip(1);
    let base = args.next().unwrap_or_else(|| std::env::temp_dir().display().to_string());
    let time = Duration::from_secs_f64(args.next().map_or(Ok(2.0), |seconds| seconds.parse())?);
    let dir = Path::new(&base).join(format!("portolan-append-bench-{}", std::process::id()));
    let outcome = measure(&dir, time);
    std::fs::remove_dir_all(&dir)?;
    outcome
}

fn measure(dir: &Path, time: Duration) -> Outcome<()> {
    disk(&dir.join("disk"), time)?;
    println!("\nengine, commands of 300 bytes, one reader");
    println!(
        "{:>10} {:>12} {:>12} {:>10} {:>10} {:>10}",
        "in flight", "entries/s", "per sync", "p50 ms", "p99 ms", "MB/s"
    );
    for window in [1, 16, 256, 2048, 16384] {
        windowed(&dir.join(format!("window-{window}")), window, time)?;
    }
    for threads in [1, 2, 4] {
        flood(&dir.join(format!("flood-{threads}")), threads, time)?;
    }
    replay(&dir.join("alone"), "each synced alone", 1)?;
    replay(&dir.join("grouped"), "in groups", 256)?;
    checkpoint(&dir.join("checkpoint"))
}

fn percentile(times: &mut [Duration], of_100: usize) -> f64 {
    times.sort_unstable();
    times.get(times.len() * of_100 / 100).map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// One write of 512 bytes and one `fdatasync`, as a lone client causes.
fn disk(dir: &Path, time: Duration) -> Outcome<()> {
    let disk = Directory::open(dir)?;
    let mut file = disk.create("file")?;
    file.reserve(64 << 20)?;
    println!("disk: a write of 512 bytes and one fdatasync");
    for what in ["allocated, never written", "written before"] {
        let (start, mut at, mut times) = (Instant::now(), 0, Vec::new());
        while start.elapsed() < time {
            let one = Instant::now();
            file.write_at(at, &[7; 512])?;
            file.sync()?;
            times.push(one.elapsed());
            at += 512;
        }
        let n = times.len();
        let (p50, p99) = (percentile(&mut times, 50), percentile(&mut times, 99));
        println!("  {what:<26} {:>6.0}/s  p50 {p50:.3} ms  p99 {p99:.3} ms", n as f64 / time.as_secs_f64());
    }
    Ok(())
}

fn open(dir: &Path) -> Outcome<(std::sync::Arc<Solo>, EventReceiver)> {
    let (log, mut events) = solo::open(&Config::new(dir))?;
    while !matches!(events.blocking_recv(), Some(Event::Replayed)) {}
    Ok((log, events))
}

fn received(events: &mut EventReceiver) -> Outcome<usize> {
    match events.blocking_recv() {
        Some(Event::Entries(entries)) => Ok(entries.len()),
        other => Err(format!("entries are due, not {other:?}").into()),
    }
}

/// A fixed number of commands in flight: as many clients, each waiting for its own.
fn windowed(dir: &Path, window: usize, time: Duration) -> Outcome<()> {
    let (log, mut events) = open(dir)?;
    let payload = Bytes::from(vec![7; 300]);
    let before = log.status();
    let (start, mut done, mut rounds) = (Instant::now(), 0, Vec::new());
    let mut sent = std::collections::VecDeque::new();
    let mut room = window;
    while start.elapsed() < time {
        for _ in 0..room {
            log.append(payload.clone())?;
        }
        sent.push_back((room, Instant::now()));
        room = received(&mut events)?;
        done += room;
        // One sample per group that came back, for the oldest in it.
        let mut left = room;
        while let Some((n, since)) = sent.front_mut() {
            if *n > left {
                *n -= left;
                break;
            }
            left -= *n;
            rounds.push(since.elapsed());
            sent.pop_front();
        }
    }
    report(&log, &format!("{window}"), done, start.elapsed(), before.syncs, &mut rounds);
    close(&log, dir)
}

/// Threads that append as fast as they may.
fn flood(dir: &Path, threads: usize, time: Duration) -> Outcome<()> {
    let (log, mut events) = open(dir)?;
    let before = log.status();
    let start = Instant::now();
    let mut done = 0;
    std::thread::scope(|scope| -> Outcome<()> {
        for _ in 0..threads {
            let log = &log;
            scope.spawn(move || {
                let payload = Bytes::from(vec![7; 300]);
                while start.elapsed() < time {
                    match log.append(payload.clone()) {
                        Ok(()) => {}
                        Err(LogError::Full { .. }) => std::thread::sleep(Duration::from_micros(200)),
                        Err(_) => return,
                    }
                }
            });
        }
        while start.elapsed() < time {
            done += received(&mut events)?;
        }
        Ok(())
    })?;
    report(&log, &format!("flood x{threads}"), done, start.elapsed(), before.syncs, &mut []);
    close(&log, dir)
}

fn report(log: &Solo, what: &str, done: usize, took: Duration, syncs: u64, rounds: &mut [Duration]) {
    let rate = done as f64 / took.as_secs_f64();
    let per_sync = done as f64 / (log.status().syncs - syncs).max(1) as f64;
    let (p50, p99) = (percentile(rounds, 50), percentile(rounds, 99));
    println!("{what:>10} {rate:>12.0} {per_sync:>12.1} {p50:>10.3} {p99:>10.3} {:>10.1}", rate * 300.0 / 1e6);
}

fn close(log: &Solo, dir: &Path) -> Outcome<()> {
    tokio::runtime::Builder::new_current_thread().build()?.block_on(log.close());
    Ok(std::fs::remove_dir_all(dir)?)
}

/// 10,000 registrations of 500 bytes: how long until they are all handed over again.
fn replay(dir: &Path, what: &str, group: usize) -> Outcome<()> {
    let (log, mut events) = open(dir)?;
    let payload = Bytes::from(vec![7; 500]);
    let mut left = 10_000usize;
    while left > 0 {
        let n = group.min(left);
        for _ in 0..n {
            log.append(payload.clone())?;
        }
        let mut waiting = n;
        while waiting > 0 {
            waiting -= received(&mut events)?;
        }
        left -= n;
    }
    tokio::runtime::Builder::new_current_thread().build()?.block_on(log.close());
    let mut times = Vec::new();
    let mut opening = Vec::new();
    for _ in 0..5 {
        let start = Instant::now();
        let (log, mut events) = solo::open(&Config::new(dir))?;
        opening.push(start.elapsed());
        while !matches!(events.blocking_recv(), Some(Event::Replayed)) {}
        times.push(start.elapsed());
        tokio::runtime::Builder::new_current_thread().build()?.block_on(log.close());
    }
    let (all, open) = (percentile(&mut times, 50), percentile(&mut opening, 50));
    println!(
        "replay of 10,000 entries of 500 bytes, {what}: {all:.1} ms, of which {open:.1} ms to open (median of 5)"
    );
    Ok(())
}

fn checkpoint(dir: &Path) -> Outcome<()> {
    let (log, mut events) = open(dir)?;
    log.append(Bytes::from_static(b"one"))?;
    received(&mut events)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let start = Instant::now();
    let state = vec![7; 50 << 20];
    runtime.block_on(log.save_checkpoint(1, Box::new(move |out| out.write_all(&state))))?;
    println!("checkpoint of 50 MiB: {:.0} ms, read back included", start.elapsed().as_secs_f64() * 1000.0);
    runtime.block_on(log.close());
    let start = Instant::now();
    let (_log, mut events) = solo::open(&Config::new(dir))?;
    events.blocking_recv();
    println!("restore of it: {:.0} ms", start.elapsed().as_secs_f64() * 1000.0);
    Ok(())
}
