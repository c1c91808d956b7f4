//! A program of libipc's that asks where a service is.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use consul::broker::{Operation, Problem, ProblemKind};
use sys::pass::{Passing as _, Socket};

use super::frame::{Frame, LOOKUP};
use super::{Folder, Generation, read};
use crate::door::Visit;
use crate::hand::Handed;
use crate::reach::{self, Ask};

/// How long a program may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether an answer was read.
const LOOK: Duration = Duration::from_millis(1);

/// Answers one lookup, and the connection is over.
pub(crate) async fn serve(visit: Visit<'_>, socket: OwnedFd, folder: &Folder) {
    let Visit { door, who, .. } = visit;
    let Ok(socket) = Socket::register(socket) else { return };
    door.metrics.asked(Operation::Connect);
    door.metrics.callers.inc();
    let served = tokio::select! {
        served = exchange(visit, &socket, folder) => served,
        () = door.drain.started() => Ok(()),
    };
    if let Err(error) = served {
        tracing::debug!(pid = who.caller.pid, uid = who.caller.uid, %error, "a lookup of libipc's came to nothing");
    }
    door.metrics.callers.dec();
}

async fn exchange(visit: Visit<'_>, socket: &Socket, folder: &Folder) -> io::Result<()> {
    let Visit { door, who, .. } = visit;
    let heard = tokio::time::timeout(PATIENCE, hear(socket)).await;
    let bytes =
        heard.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it does not say what it wants"))??;
    let Ok(Some(frame)) = read(&bytes) else { return Err(io::ErrorKind::UnexpectedEof.into()) };
    let generation = frame.generation;
    let answer = match wanted(&frame) {
        Ok((service, network)) => {
            let ask = Ask { name: service, network: Some(network), folder: Some(folder) };
            reach::connect(visit, &ask).await
        }
        Err(text) => Err(Problem::new(ProblemKind::Malformed, text)),
    };
    let given = tokio::time::timeout(door.config.reply_timeout, give(socket, generation, &answer)).await;
    if let Err(problem) = &answer {
        door.metrics.refused(problem.kind);
        // Its program is told little: the text is for whoever looks here.
        tracing::info!(pid = who.caller.pid, uid = who.caller.uid, %problem, "refused a lookup of libipc's");
    }
    given.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read its answer")))
}

/// Reads until there is a frame.
async fn hear(socket: &Socket) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let packet = socket.when_readable(|from| from.receive(&mut part).map_err(plain)).await?;
        if packet.length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&part[..packet.length]);
        match read(&bytes) {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(bytes),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

fn plain(error: sys::pass::ReceiveError) -> io::Error {
    match error {
        sys::pass::ReceiveError::Socket(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

/// The service that a lookup is for, and its `IPC_NETWORK`.
///
/// # Errors
/// What is wrong, in words.
pub fn wanted<'a>(frame: &Frame<'a>) -> Result<(&'a str, &'a str), String> {
    if frame.generation == Generation::C && frame.kind != LOOKUP {
        return Err(format!("a frame of type {} is no lookup", frame.kind));
    }
    let text = std::str::from_utf8(frame.payload).map_err(|_| "a lookup that is no UTF-8")?;
    // Some clients send the zero at the end of their string too.
    let text = text.trim_end_matches('\0');
    let (service, network) = text.split_once(';').unwrap_or((text, ""));
    if service.is_empty() || text.contains('\0') {
        return Err("a lookup without a service, or with a zero inside".to_owned());
    }
    Ok((service.trim(), network))
}

async fn give(socket: &Socket, generation: Generation, answer: &Result<Handed, Problem>) -> io::Result<()> {
    match (generation, answer) {
        (Generation::C, Ok(handed)) => {
            send(socket, &generation.frame(LOOKUP, b"ok"), None).await?;
            // Readers that take more than their frame in one read would lose the descriptor with it.
            while sys::pass::unread(socket)? > 0 {
                tokio::time::sleep(LOOK).await;
            }
            send(socket, b"0", Some(&handed.descriptor)).await
        }
        (Generation::Zig, Ok(handed)) => send(socket, b"ok", Some(&handed.descriptor)).await,
        (Generation::C, Err(problem)) => {
            send(socket, &generation.frame(LOOKUP, problem.message.as_bytes()), None).await
        }
        // Anything but "ok" is a refusal; the end alone says the same and cannot be misread.
        (Generation::Zig, Err(_)) => Ok(()),
    }
}

/// In one write: their readers read once.
async fn send(socket: &Socket, bytes: &[u8], descriptor: Option<&OwnedFd>) -> io::Result<()> {
    let passed: Vec<_> = descriptor.iter().map(|descriptor| descriptor.as_fd()).collect();
    let sent = socket.when_writable(|to| to.send(bytes, &passed)).await?;
    if sent == bytes.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}
