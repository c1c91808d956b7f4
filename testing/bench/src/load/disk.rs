//! The disk's own figure: what one small durable write costs without anything around it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::harness::figure::Latencies;

/// Bytes of one write: about one registration with its record's head.
const WRITE: usize = 512;

/// Appends into a preallocated file, each write followed by fdatasync, as a write-ahead log does.
pub(crate) fn fdatasync(folder: &Path, count: usize) -> Result<Latencies> {
    let file =
        tempfile::tempfile_in(folder).with_context(|| format!("make a file in {}", folder.display()))?;
    preallocate(&file, count * WRITE)?;
    let mut latencies = Latencies::default();
    for number in 0..count {
        let begin = Instant::now();
        file.write_all_at(&[number as u8; WRITE], (number * WRITE) as u64).context("write")?;
        file.sync_data().context("fdatasync")?;
        latencies.push(begin.elapsed());
    }
    Ok(latencies)
}

/// Written, not only reserved: turning reserved blocks into written ones costs a journal entry for each sync.
fn preallocate(file: &File, length: usize) -> Result<()> {
    file.write_all_at(&vec![0; length], 0).context("preallocate")?;
    file.sync_all().context("sync the preallocated file")
}
