//! Where proposals come from: lines of standard input, and of a named pipe.
//!
//! A pipe has no acknowledgement: what was written and not yet read when the node ends is lost, and nobody is told.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;

/// Longest line, in bytes. Longer ones are dropped with a warning.
pub(super) const LONGEST: usize = 64 << 10;
/// Lines that wait to be proposed; whoever writes more has to wait.
const WAITING: usize = 1024;
/// Between two tries to open a pipe that is not there.
const RETRY: Duration = Duration::from_secs(1);

pub(super) struct Lines(mpsc::Receiver<String>);

impl Lines {
    /// Reads both on threads of their own: neither can be waited for otherwise.
    pub(super) fn read(pipe: Option<PathBuf>) -> Lines {
        let (sender, receiver) = mpsc::channel(WAITING);
        let input = sender.clone();
        std::thread::spawn(move || {
            if let Err(error) = read_all(io::stdin().lock(), &input) {
                tracing::warn!(%error, "standard input cannot be read any more");
            }
        });
        if let Some(path) = pipe {
            std::thread::spawn(move || read_pipe(&path, &sender));
        }
        Lines(receiver)
    }

    /// The next line; none once every source has ended.
    pub(super) async fn next(&mut self) -> Option<String> {
        self.0.recv().await
    }
}

/// Opens the pipe again whenever its last writer has gone.
fn read_pipe(path: &PathBuf, to: &mpsc::Sender<String>) {
    let mut told = false;
    while !to.is_closed() {
        match File::open(path).and_then(|pipe| read_all(BufReader::new(pipe), to)) {
            Ok(()) => told = false,
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(pipe = %path.display(), %error, "the pipe cannot be read; trying on");
                }
                std::thread::sleep(RETRY);
            }
        }
    }
}

fn read_all(mut from: impl BufRead, to: &mpsc::Sender<String>) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.by_ref().take(LONGEST as u64 + 1).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if line.len() > LONGEST && !line.ends_with(b"\n") {
            skip_line(&mut from)?;
            tracing::warn!(limit = LONGEST, "a line is too long and was dropped");
            continue;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if !text.is_empty() && to.blocking_send(text.to_owned()).is_err() {
            return Ok(());
        }
    }
}

fn skip_line(from: &mut impl BufRead) -> io::Result<()> {
    loop {
        let held = from.fill_buf()?;
        let end = held.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(held.len(), |end| end + 1);
        from.consume(used);
        if end.is_some() || used == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_long_ones_dropped() {
        let long = "x".repeat(LONGEST + 10);
        let text = format!("one\r\n\n{long}\ntwo\nlast");
        let (sender, mut receiver) = mpsc::channel(8);
        read_all(text.as_bytes(), &sender).unwrap();
        drop(sender);
        let lines: Vec<_> = std::iter::from_fn(|| receiver.blocking_recv()).collect();
        assert_eq!(lines, ["one", "two", "last"]);
    }
}
