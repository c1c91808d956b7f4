//! A word when something takes longer than a second, so that nobody wonders whether it hangs.

use std::io::IsTerminal as _;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(1);

/// Does the work, and once it takes long calls `say` with the seconds that have passed, every second.
pub(crate) async fn watched<T>(work: impl Future<Output = T>, mut say: impl FnMut(u64)) -> T {
    tokio::pin!(work);
    for seconds in 1.. {
        if let Ok(done) = tokio::time::timeout(PATIENCE, work.as_mut()).await {
            return done;
        }
        say(seconds);
    }
    work.await
}

/// The same on standard error, where a person is looking; the word is taken away again.
pub(crate) async fn on_terminal<T>(what: &str, quiet: bool, work: impl Future<Output = T>) -> T {
    let is_seen = !quiet && std::io::stderr().is_terminal();
    let mut is_there = false;
    let done = watched(work, |seconds| {
        if is_seen {
            eprint!("\r\x1b[2K{what} … {seconds} s");
            is_there = true;
        }
    })
    .await;
    if is_there {
        eprint!("\r\x1b[2K");
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_takes_long_is_talked_about() {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        assert_eq!(watched(std::future::ready(1), |seconds| sender.send(seconds).unwrap()).await, 1);
        assert!(receiver.try_recv().is_err());
        // Work that ends once it was talked about, however long that takes.
        let slow = receiver.recv();
        assert_eq!(watched(slow, |seconds| sender.send(seconds).unwrap()).await, Some(1));
    }
}
