//! Disks that fail under a running log: it stops for good, says why, and what was promised holds.

use super::*;
use crate::sim::Flaws;

/// Appends until the log stops; the entries decided, and why it stopped.
async fn append_until_stopped(log: &Solo, events: &mut EventReceiver) -> (u64, String) {
    let mut last = 0;
    loop {
        drop(log.append(Bytes::from_static(&[7; 1000])));
        match events.recv().await.expect("a stream that says why it stops") {
            Event::Entries(entries) => last = entries.last().map_or(last, |e| e.index),
            Event::Stopped(error) => return (last, crate::error_chain(&*error)),
            Event::Replayed | Event::Restore(_) => {}
        }
    }
}

#[tokio::test]
async fn a_failed_sync_stops_the_log_for_good() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    disk.fail_sync_after(10);
    let (last, reason) = append_until_stopped(&log, &mut events).await;
    assert!(reason.contains("sync segment sim/segment-00000000000000000001"), "{reason}");
    assert!(events.recv().await.is_none(), "nothing follows");
    let refused = log.append(Bytes::new()).expect_err("it takes nothing more").to_string();
    assert_eq!(refused, format!("the log has stopped: {reason}"));
    assert_eq!(log.status().stopped, Some(reason));
    assert!(log.barrier().await.is_err());
    let saved = log.save_checkpoint(1, Box::new(|_| Ok(()))).await;
    assert!(matches!(saved, Err(LogError::Stopped { .. })));
    assert!(
        matches!(open_on(Arc::new(disk.clone()), &config), Err(LogError::InUse { .. })),
        "until it is closed"
    );
    log.close().await;
    disk.crash();
    let (_log, mut events) = start(&disk, &config);
    let there = read(&mut events, 0).await.len() as u64;
    assert!(there == last || there == last + 1, "{there} entries, {last} were decided");
}

#[tokio::test]
async fn a_full_disk_stops_the_log_and_space_lets_it_start_again() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    disk.set_free(40_000);
    let (last, reason) = append_until_stopped(&log, &mut events).await;
    assert!(reason.contains("reserve space for sim/segment-"), "{reason}");
    log.close().await;
    disk.kill();
    let (log, mut events) = start(&disk, &config);
    assert_eq!(read(&mut events, 0).await.len() as u64, last);
    append(&log, &mut events, b"room again").await;
}

#[tokio::test]
async fn a_checkpoint_that_finds_no_space_fails_alone() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    append(&log, &mut events, b"one").await;
    disk.set_free(100);
    let failed = log.save_checkpoint(1, Box::new(|out| out.write_all(&[7; 1000]))).await;
    assert!(matches!(failed, Err(LogError::Io { .. })), "{failed:?}");
    append(&log, &mut events, b"two").await;
    assert!(!disk.contents().contains_key("checkpoint.new"), "nothing is left behind");
    disk.set_free(10_000);
    log.save_checkpoint(2, Box::new(|out| out.write_all(&[7; 1000]))).await.expect("space");
}

#[tokio::test]
async fn a_writer_that_panics_harms_nothing() {
    let disk = SimDisk::new(1, Flaws::default());
    let (log, mut events) = start(&disk, &config(Path::new("")));
    append(&log, &mut events, b"one").await;
    let failed = log.save_checkpoint(1, Box::new(|_| panic!("on purpose"))).await.expect_err("it says so");
    assert!(crate::error_chain(&failed).contains("panicked"), "{failed}");
    append(&log, &mut events, b"two").await;
    log.save_checkpoint(1, Box::new(|out| out.write_all(b"state"))).await.expect("saved");
    log.close().await;
}
