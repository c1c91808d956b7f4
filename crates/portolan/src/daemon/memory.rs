//! Memory that was freed goes back to the kernel when the registry comes to rest.
//!
//! What a busy time frees lies in holes between what lives, in a heap for each thread, and the C library keeps it
//! for itself: after 100,000 registrations a third of the memory is such holes.

use std::time::Duration;

use state::{Drain, Reader};
use store::View;

/// The registry is at rest when nothing was decided for this long.
const REST: Duration = Duration::from_secs(1);
/// So many decisions are worth the look through all memory that giving back takes.
const WORTH: u64 = 1000;

/// Runs until the drain.
pub(crate) async fn run(mut reader: Reader<View>, drain: Drain) {
    let mut given_back_at = 0;
    loop {
        let index = tokio::select! {
            next = reader.next() => match next {
                Some(view) => view.index(),
                None => return,
            },
            () = drain.started() => return,
        };
        if index < given_back_at + WORTH {
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = drain.started() => return,
        }
        if reader.now().index() == index {
            given_back_at = index;
            // It fails only when the runtime shuts down.
            let _ = tokio::task::spawn_blocking(sys::process::give_free_memory_back).await;
        }
    }
}
