//! Starts: who holds the directory, what is cut, what is refused, what is fallen back to.

use super::*;
use crate::sim::Flaws;

fn position(disk: &SimDisk, name: &str, needle: &[u8]) -> usize {
    let contents = disk.contents();
    contents[name].windows(needle.len()).position(|w| w == needle).expect("it is in the file")
}

const SEGMENT: &str = "segment-00000000000000000001";

#[tokio::test]
async fn a_directory_belongs_to_one_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let (log, _events) = open(&config(dir.path())).expect("it opens");
    let error = refusal(open(&config(dir.path()))).to_string();
    assert!(error.contains(&format!("pid {}", std::process::id())), "{error}");
    log.close().await;
    let (log, _events) = open(&config(dir.path())).expect("it is free again");
    drop(log);
    eventually("a dropped log frees its directory", || open(&config(dir.path())).is_ok()).await;
}

#[tokio::test]
async fn a_directory_is_readable_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("a/b");
    let (log, _events) = open(&config(&path)).expect("it opens");
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&path.join(SEGMENT)), mode(&path.join("lock"))), (0o700, 0o600, 0o600));
    log.close().await;
}

#[tokio::test]
async fn damage_after_a_clean_close_is_refused_with_its_place() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    for _ in 0..2 {
        // Twice: what is sealed once must be sealed again.
        let (log, mut events) = start(&disk, &config);
        read(&mut events, 0).await;
        append(&log, &mut events, b"one").await;
        append(&log, &mut events, b"the last").await;
        log.close().await;
    }
    let contents = disk.contents();
    let last = contents[SEGMENT].windows(8).rposition(|w| w == b"the last").expect("it is in the file");
    disk.flip(SEGMENT, last * 8);
    let error = refusal(open_on(Arc::new(disk.clone()), &config));
    let LogError::Damaged { path, offset, synced, .. } = &error else { panic!("{error}") };
    let place = last as u64 - 44;
    assert_eq!((&**path, *offset, *synced), ("sim/segment-00000000000000000001", place, place + 512));
    assert!(error.to_string().contains("Restore the data directory from a backup"), "{error}");
    disk.flip(SEGMENT, last * 8);
    let (_log, mut events) = start(&disk, &config);
    assert_eq!(read(&mut events, 0).await.len(), 4, "undamaged it opens");
}

#[tokio::test]
async fn a_torn_tail_is_cut_with_a_warning() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    append(&log, &mut events, b"one").await;
    append(&log, &mut events, b"the last").await;
    // The machine as it was before the close sealed the end.
    let crashed = disk.fork();
    crashed.flip(SEGMENT, position(&crashed, SEGMENT, b"the last") * 8);
    let (log, mut events) = start(&crashed, &config);
    assert_eq!(read(&mut events, 0).await.len(), 1);
    let warnings = log.status().warnings;
    assert!(matches!(&warnings[..], [one] if one.contains("cut a torn tail at byte 4608")), "{warnings:?}");
    append(&log, &mut events, b"instead").await;
    log.close().await;
    let (log, mut events) = start(&crashed, &config);
    assert_eq!(read(&mut events, 0).await[1].payload, "instead");
    assert_eq!(log.status().warnings, Vec::<String>::new());
}

#[tokio::test]
async fn quiet_proves_the_last_batch() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = Config { seal_after: Duration::from_millis(1), ..config(Path::new("")) };
    let (log, mut events) = start(&disk, &config);
    append(&log, &mut events, b"the last").await;
    eventually("the seal is on the disk", || {
        let crashed = disk.fork();
        crashed.crash();
        crashed.flip(SEGMENT, position(&crashed, SEGMENT, b"the last") * 8);
        open_on(Arc::new(crashed), &config).is_err()
    })
    .await;
}

#[tokio::test]
async fn a_damaged_checkpoint_falls_back_and_is_kept() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    for i in 1..=3u64 {
        append(&log, &mut events, b"one").await;
        log.save_checkpoint(i, Box::new(move |out| out.write_all(&[i as u8; 100]))).await.expect("saved");
    }
    append(&log, &mut events, b"four").await;
    log.close().await;
    disk.flip("checkpoint-00000000000000000003", 500);
    let (log, mut events) = start(&disk, &config);
    let Some(Event::Restore(restored)) = events.recv().await else { panic!("a checkpoint is due") };
    assert_eq!((restored.index, &restored.state[..]), (2, &[2u8; 100][..]));
    assert_eq!(read(&mut events, 0).await.iter().map(|e| e.index).collect::<Vec<_>>(), [3, 4]);
    let warning = log.status().warnings.join("\n");
    assert!(warning.contains("checkpoint-00000000000000000003.damaged"), "{warning}");
}

#[tokio::test]
async fn with_nothing_to_fall_back_to_the_newest_checkpoint_is_named() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    for i in 1..=200u64 {
        append(&log, &mut events, &[7; 1000]).await;
        if i % 50 == 0 {
            log.save_checkpoint(i, Box::new(|out| out.write_all(&[7; 100]))).await.expect("saved");
        }
    }
    log.close().await;
    disk.flip("checkpoint-00000000000000000150", 500);
    disk.flip("checkpoint-00000000000000000200", 500);
    let error = refusal(open_on(Arc::new(disk.clone()), &config)).to_string();
    let place = "sim/checkpoint-00000000000000000200 is damaged at byte 32 (a chunk does not match its sum)";
    assert!(error.contains(place), "{error}");
    assert!(disk.contents().contains_key("checkpoint-00000000000000000200"), "a refusal changes nothing");
}

#[tokio::test]
async fn checkpoints_bound_the_disk() {
    let disk = SimDisk::new(1, Flaws::default());
    let config = config(Path::new(""));
    let (log, mut events) = start(&disk, &config);
    for i in 1..=400u64 {
        append(&log, &mut events, &[7; 1000]).await;
        if i % 50 == 0 {
            log.save_checkpoint(i, Box::new(|out| out.write_all(b"state"))).await.expect("saved");
        }
    }
    let names: Vec<String> = disk.contents().into_keys().collect();
    let count = |kind: &str| names.iter().filter(|name| name.starts_with(kind)).count();
    // Two intervals of 75 KB in segments of 32 KB, and the one before that the older checkpoint lies in.
    assert!(count("segment-") <= 6, "{names:?}");
    assert_eq!((count("checkpoint-"), count("spare-") <= 2), (2, true), "{names:?}");
}

#[tokio::test]
async fn segments_may_change_their_size_between_starts() {
    let disk = SimDisk::new(1, Flaws::default());
    let mut config = config(Path::new(""));
    let mut index = 0;
    for size in [32 << 10, 64 << 10, 16 << 10] {
        config.segment_bytes = size;
        let (log, mut events) = start(&disk, &config);
        read(&mut events, 0).await;
        for _ in 0..100 {
            append(&log, &mut events, &[7; 1000]).await;
            index += 1;
        }
        log.save_checkpoint(index - 50, Box::new(|out| out.write_all(b"state"))).await.expect("saved");
        log.close().await;
    }
    let (log, mut events) = start(&disk, &config);
    assert_eq!(read(&mut events, 0).await.len(), 50);
    assert_eq!(log.status().last_index, 300);
}

#[tokio::test]
async fn replay_waits_for_its_reader() {
    let disk = SimDisk::new(1, Flaws::default());
    let mut config = config(Path::new(""));
    (config.segment_bytes, config.max_command_bytes) = (4 << 20, 1 << 20);
    config.max_batch_bytes = 1 << 20;
    let (log, mut events) = start(&disk, &config);
    for _ in 0..24 {
        append(&log, &mut events, &[7; 500_000]).await;
    }
    log.close().await;
    let (log, mut events) = start(&disk, &config);
    eventually("replay is under way", || log.gauge.backlog().bytes >= 4 << 20).await;
    assert!(log.gauge.backlog().bytes < 6 << 20, "{:?}", log.gauge.backlog());
    assert_eq!(log.barrier().await.expect("open"), 24);
    assert_eq!(read(&mut events, 0).await.len(), 24);
    log.close().await;
    let (log, _events) = start(&disk, &config);
    eventually("replay is under way", || log.gauge.backlog().bytes >= 4 << 20).await;
    log.close().await;
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let small = Config { segment_bytes: 4096, ..config(Path::new("")) };
    let disk = Arc::new(SimDisk::new(1, Flaws::default()));
    let error = refusal(open_on(disk, &small)).to_string();
    assert!(error.contains("a command of 4096 bytes does not fit in a segment of 4096 bytes"), "{error}");
}
