//! Keeps the routes that the data threads read in step with the catalog.

use route::Routes;
use state::{Drain, Publisher, Reader};
use store::View;

/// The routes at this moment, to begin with.
pub(super) fn first(views: &Reader<View>) -> Routes {
    Routes::project(&views.now())
}

/// Projects what changed in every snapshot, until the drain starts.
pub(super) async fn follow(mut views: Reader<View>, routes: Publisher<Routes>, drain: Drain) {
    loop {
        tokio::select! {
            view = views.next() => match view {
                Some(view) => {
                    let advanced = routes.now().advance(&view);
                    routes.publish(advanced);
                }
                None => return,
            },
            () = drain.started() => return,
        }
    }
}
