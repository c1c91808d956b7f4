//! Faces by name. One that ends before it was asked to stops the node, with its reason.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinSet};

/// The running faces.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, &'static str>,
}

/// A face that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) name: &'static str,
    pub(crate) result: anyhow::Result<()>,
}

impl Ended {
    /// The same as an error: nothing ends by itself in a running node.
    pub(crate) fn too_early(self) -> anyhow::Error {
        let name = self.name;
        match self.result {
            Ok(()) => anyhow!("{name} ended, and nobody had asked it to"),
            Err(cause) => cause.context(format!("{name} failed")),
        }
    }
}

/// What a face returns when it ends: nothing, or whether it ended well.
pub(crate) trait Ending {
    fn ending(self) -> anyhow::Result<()>;
}

impl Ending for () {
    fn ending(self) -> anyhow::Result<()> {
        Ok(())
    }
}

impl<E: Into<anyhow::Error>> Ending for Result<(), E> {
    fn ending(self) -> anyhow::Result<()> {
        self.map_err(Into::into)
    }
}

impl Tasks {
    /// Starts a face.
    pub(crate) fn spawn<F>(&mut self, name: &'static str, face: F)
    where
        F: Future<Output: Ending> + Send + 'static,
    {
        let handle = self.set.spawn(async move { face.await.ending() });
        self.names.insert(handle.id(), name);
    }

    /// The next face that ends; `None` when none is left.
    pub(crate) async fn next_end(&mut self) -> Option<Ended> {
        let (id, result) = match self.set.join_next_with_id().await? {
            Ok((id, result)) => (id, result),
            Err(cause) => (cause.id(), Err(anyhow!(cause))),
        };
        let name = self.names.remove(&id).unwrap_or("a task");
        Some(Ended { name, result })
    }

    /// Names of those that still run.
    pub(crate) fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_end_names_the_face_and_why() {
        let mut tasks = Tasks::default();
        tasks.spawn("dns", std::future::pending::<()>());
        tasks.spawn("api", async { Err::<(), _>(anyhow!("socket gone")) });
        let error = tasks.next_end().await.unwrap().too_early();
        assert_eq!(format!("{error:#}"), "api failed: socket gone");
        assert_eq!(tasks.running(), ["dns"]);
    }
}
