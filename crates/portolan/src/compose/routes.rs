//! Keeps the routes that the data threads read in step with the catalog.

use std::time::{Duration, Instant};

use route::Routes;
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
pub(super) fn first(views: &Reader<View>) -> Routes {
    Routes::project(&views.now())
}

/// Projects what changed, until the drain starts.
pub(super) async fn follow(mut views: Reader<View>, routes: Publisher<Routes>, drain: Drain) {
    let mut pause_until = Instant::now();
    loop {
        tokio::select! {
            view = views.next() => if view.is_none() { return },
            () = drain.started() => return,
        }
        tokio::time::sleep_until(pause_until.into()).await;
        let started = Instant::now();
        routes.publish(routes.now().advance(&views.now()));
        pause_until = Instant::now() + (started.elapsed() * PAUSE_FACTOR).clamp(PAUSE, LONGEST_PAUSE);
    }
}
