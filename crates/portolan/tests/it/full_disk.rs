//! A disk with no room left stops writes, says so, and leaves reads alone.

use std::path::Path;
use std::process::Command;

use crate::support::{Daemon, eventually, http};

/// A small file system of its own, unmounted when dropped. None where this may not be done.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<SmallDisk, String> {
        let folder = tempfile::tempdir().unwrap();
        let options = ["-t", "tmpfs", "-o", "size=12m", "tmpfs"];
        let output = Command::new("mount").args(options).arg(folder.path()).output();
        match output {
            Ok(output) if output.status.success() => Ok(SmallDisk(folder)),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(cause) => Err(cause.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "{} stays mounted", self.0.path().display());
    }
}

#[test]
fn a_full_disk_stops_writes_and_keeps_reads() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(why) => {
            println!("skipped: a small file system cannot be mounted here: {why}");
            return;
        }
    };
    let mut daemon = Daemon::serve(disk.path(), &["--set", "storage.checkpoint_size=1GiB"]);
    daemon.say(&["kv", "put", "first", "kept"]);
    daemon.say(&["register", "web", "--port", "80"]);
    let value = "x".repeat(100_000);
    let refused = eventually("the disk to be full", || {
        let output = daemon.cli(&["kv", "put", "big", &value]);
        (!output.status.success()).then_some(output)
    });
    let words = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{words}");
    assert!(words.contains("No space left") || words.contains("no space"), "{words}");
    // Again, at once: the answer does not change, and nothing hangs.
    assert_eq!(daemon.cli(&["kv", "put", "other", "1"]).status.code(), Some(1));

    assert_eq!(daemon.say(&["kv", "get", "first"]), "kept");
    assert!(daemon.say(&["instances", "web"]).contains("web-80"));
    let (status, body) = http(daemon.addresses["HTTP API"], "localhost", "/readyz").unwrap();
    assert!(status == 503 && body.contains("[-] log"), "{status} {body}");
    let (_, metrics) = http(daemon.addresses["HTTP API"], "localhost", "/metrics").unwrap();
    assert!(metrics.contains("portolan_log_stopped 1"), "the metrics do not say so");

    // It still leaves in order, and what was acknowledged is there once there is room again.
    daemon.signal(rustix::process::Signal::TERM);
    daemon.ended();
    let resized = ["-o", "remount,size=64m"];
    assert!(Command::new("mount").args(resized).arg(disk.path()).status().unwrap().success());
    let daemon = Daemon::serve(disk.path(), &[]);
    assert_eq!(daemon.say(&["kv", "get", "first"]), "kept");
    daemon.say(&["kv", "put", "other", "1"]);
}
