//! Waiting for a condition rather than for a while.

use std::time::{Duration, Instant};

/// Between two looks; short enough that nobody waits for it, long enough to leave the processor to the peer.
const PAUSE: Duration = Duration::from_millis(10);

/// The condition did not come true.
#[derive(Debug, thiserror::Error)]
#[error("waited {waited:?} for {what}, in vain")]
pub struct Timeout {
    what: String,
    waited: Duration,
}

/// Looks until there is something, for at most `limit`.
///
/// # Errors
/// [`Timeout`], with `what` in it.
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T, Timeout> {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if begin.elapsed() >= limit {
            return Err(Timeout { what: what.to_owned(), waited: begin.elapsed() });
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::until;
    use std::time::Duration;

    #[test]
    fn it_looks_again_and_it_ends() {
        let mut looks = 0;
        let third = until(Duration::from_secs(5), "the third look", || {
            looks += 1;
            (looks == 3).then_some("there")
        });
        assert_eq!(third.unwrap(), "there");
        let error = until(Duration::ZERO, "the moon", || None::<()>).unwrap_err();
        assert!(error.to_string().contains("the moon"));
    }
}
