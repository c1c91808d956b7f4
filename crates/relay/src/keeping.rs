//! A task that keeps something until it is over.

use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

pin_project! {
    /// Runs `task` and keeps `kept` as long as that lives. An async block around both would hold the task twice, as
    /// what it was given and as what it waits for: with thousands of connections that is most of their memory.
    #[derive(Debug)]
    pub struct Keeping<F, T> {
        #[pin]
        task: F,
        kept: T,
    }
}

impl<F, T> Keeping<F, T> {
    /// Keeps `kept` while `task` runs.
    pub fn new(kept: T, task: F) -> Keeping<F, T> {
        Keeping { task, kept }
    }
}

impl<F: Future, T> Future for Keeping<F, T> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().task.poll(cx)
    }
}
