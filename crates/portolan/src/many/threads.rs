//! The threads that data links live on: as many as move other connections, so that what they encrypt keeps neither the
//! log nor the API waiting.

use anyhow::Context as _;
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) struct DataThreads {
    pub(crate) handle: Handle,
    /// There until it is dropped.
    runtime: Option<Runtime>,
}

impl DataThreads {
    pub(crate) fn start(config: &relay::Config) -> anyhow::Result<DataThreads> {
        let usual = || {
            if let Err(cause) = sys::process::take_usual_turns() {
                tracing::debug!(error = %cause, "a thread of the mesh keeps short turns on the processor");
            }
        };
        let threads = config.thread_count().context("count the processors")?;
        let mut builder = Builder::new_multi_thread();
        let builder = builder.worker_threads(threads).thread_name("mesh").enable_all().on_thread_start(usual);
        let runtime = builder.build().context("start the threads of the mesh")?;
        Ok(DataThreads { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }
}

impl Drop for DataThreads {
    /// Links were told to end before; nothing is waited for, as this may be a thread of a runtime itself.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
