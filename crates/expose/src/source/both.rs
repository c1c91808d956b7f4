//! Several sources as one.

use std::sync::Arc;
use std::time::Duration;

use state::{Drain, Publisher, Reader, channel};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Said;
use crate::wish::Wishes;

/// How long the first word of every source is waited for. What an earlier run opened for a source that is not
/// heard stays until then: afterwards the others count without it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Publishes what all of them wish together until the drain starts.
pub async fn run(sources: Vec<Reader<Said>>, said: Publisher<Said>, drain: Drain) {
    let deadline = Instant::now() + PATIENCE;
    let (news, mut any) = channel(0u64);
    let news = Arc::new(news);
    let mut tasks = JoinSet::new();
    for mut source in sources.clone() {
        let news = news.clone();
        tasks.spawn(async move {
            while source.next().await.is_some() {
                news.publish(*news.now() + 1);
            }
        });
    }
    loop {
        let is_late = Instant::now() >= deadline;
        said.publish_if_changed(together(&sources, is_late));
        tokio::select! {
            () = drain.started() => return,
            _ = any.next() => {}
            () = tokio::time::sleep_until(deadline), if !is_late => {}
        }
    }
}

fn together(sources: &[Reader<Said>], is_late: bool) -> Said {
    let said: Vec<_> = sources.iter().map(Reader::now).collect();
    let troubles: Vec<&str> = said.iter().filter_map(|one| one.trouble.as_deref()).collect();
    let is_whole = said.iter().all(|one| one.wishes.is_some() && !one.is_partial);
    let is_known = is_late || said.iter().all(|one| one.wishes.is_some());
    let wishes = said.iter().filter_map(|one| one.wishes.as_ref());
    let all = wishes.fold(Wishes::default(), |all, wishes| all.and(wishes));
    Said {
        wishes: is_known.then(|| Arc::new(all)),
        trouble: (!troubles.is_empty()).then(|| troubles.join("; ")),
        is_partial: !is_whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_not_heard_is_waited_for_and_missed_afterwards() {
        let wishes = Some(Arc::new(Wishes::default()));
        let (_mute, unheard) = channel(Said::default());
        let (speaker, heard) = channel(Said { wishes, ..Said::default() });
        let both = [unheard, heard.clone()];
        assert_eq!(together(&both, false), Said { is_partial: true, ..Said::default() });
        let late = together(&both, true);
        assert!(late.wishes.is_some() && late.is_partial);
        assert!(!together(std::slice::from_ref(&heard), false).is_partial);
        // What it wished last does not count any more.
        speaker.publish(Said { is_partial: true, ..Said::clone(&heard.now()) });
        assert!(together(&[heard], false).is_partial);
    }
}
