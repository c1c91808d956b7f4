//! A program: exit 0 passes, 1 warns, anything else is critical. No shell; a process group of its own,
//! killed as a whole when the check is over or given up.

use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use catalog::validate::MAX_OUTPUT;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::chain;
use crate::verdict::Finding;

/// How long a program's output is waited for when it has left and a child of it holds the pipe.
const PIPE_GRACE: Duration = Duration::from_millis(200);

pub(super) async fn run(args: &[Arc<str>]) -> Finding {
    let Some((program, args)) = args.split_first() else {
        return Finding::critical("run a check: its list of arguments is empty");
    };
    let spawned = Command::new(&**program)
        .args(args.iter().map(|arg| &**arg))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn();
    match spawned {
        Ok(child) => watch(program, child).await,
        Err(cause) => Finding::critical(format!("run {program}: {}", chain(&cause))),
    }
}

async fn watch(program: &str, mut child: Child) -> Finding {
    let mut group = Group::of(&child);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut out, mut err) = (Tail::default(), Tail::default());
    let status = {
        let mut reading = std::pin::pin!(async { tokio::join!(out.read(stdout), err.read(stderr)) });
        tokio::select! {
            status = child.wait() => {
                if tokio::time::timeout(PIPE_GRACE, reading).await.is_ok() {
                    group.release();
                }
                status
            }
            _ = &mut reading => {
                let status = child.wait().await;
                group.release();
                status
            }
        }
    };
    drop(group);
    let output = format!("{}{}", out.text(), err.text());
    match status {
        Ok(status) => judge(program, status, output),
        Err(cause) => Finding::critical(format!("wait for {program}: {}", chain(&cause))),
    }
}

fn judge(program: &str, status: ExitStatus, output: String) -> Finding {
    match status.code() {
        Some(0) => Finding::passing(output),
        Some(1) => Finding::warning(output),
        _ => Finding::critical(format!("{program}: {status}\n{output}")),
    }
}

/// Kills a process group when dropped: when the probe is given up at its timeout, or when the program has
/// left and something that it started still holds its output.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Group {
        Group(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// The program has left and nothing of it is known to live: its number may belong to others soon.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Gone already, mostly: then there is nobody to kill.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The last bytes of a stream; all of it is read, so that the program never blocks on a full pipe.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    async fn read(&mut self, from: Option<impl AsyncRead + Unpin>) {
        let Some(mut from) = from else { return };
        let mut buffer = [0; 2048];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.0.extend_from_slice(&buffer[..count]);
            let surplus = self.0.len().saturating_sub(MAX_OUTPUT / 2);
            self.0.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}
