//! Keeps the routes that the data threads read in step with the catalog.

use std::sync::Arc;
use std::time::{Duration, Instant};

use route::{Here, Routes};
use state::{Drain, Publisher, Reader};
use store::View;

/// Shortest time between two projections. What changes meanwhile is in the next one.
const PAUSE: Duration = Duration::from_millis(1);
/// Longest such time.
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// A projection is followed by a pause this many times as long. It costs as much as the changed services have
/// instances: registering thousands into few services would otherwise take the control threads for itself.
const PAUSE_FACTOR: u32 = 2;

/// The routes at this moment, to begin with.
pub(super) fn first(views: &Reader<View>, here: Arc<Here>) -> Routes {
    Routes::project_on(&views.now(), here)
}

/// Projects what changed, until the drain starts. Rules do not wait for a pause: who may no longer is cut off at
/// once.
pub(super) async fn follow(mut views: Reader<View>, routes: Publisher<Routes>, drain: Drain) {
    let mut pause_until = Instant::now();
    let mut is_behind = false;
    loop {
        tokio::select! {
            view = views.next() => match view {
                None => return,
                Some(view) => {
                    is_behind = true;
                    if let Some(stricter) = routes.now().advance_rules(&view) {
                        routes.publish(stricter);
                    }
                }
            },
            () = tokio::time::sleep_until(pause_until.into()), if is_behind => {
                is_behind = false;
                let started = Instant::now();
                routes.publish(routes.now().advance(&views.now()));
                pause_until = Instant::now() + (started.elapsed() * PAUSE_FACTOR).clamp(PAUSE, LONGEST_PAUSE);
            }
            () = drain.started() => return,
        }
    }
}
