//! One program's connection: a request, a reply, and again.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use consul::broker::{LONGEST, Problem, ProblemKind, Reply, Request, VERSION};
use sys::pass::{Passing, ReceiveError, Socket};

use crate::answer::{self, Answer};
use crate::door::{Door, Visit};

/// What a program said.
#[derive(Debug)]
pub(crate) enum Heard {
    /// A request, with what came along.
    Request(Request, Vec<OwnedFd>),
    /// Nothing that can be carried out. The next request may be better.
    Wrong(Problem),
    /// What came is broken in a way that nothing after it can be trusted.
    Broken(Problem),
    /// It has gone.
    End,
}

/// Serves a program until it goes, or the node drains.
pub(crate) async fn serve(visit: Visit<'_>, socket: OwnedFd) {
    let Visit { door, who, .. } = visit;
    let Ok(socket) = Socket::register(socket) else { return };
    door.metrics.callers.inc();
    if let Err(error) = converse(visit, &socket).await {
        tracing::debug!(pid = who.caller.pid, uid = who.caller.uid, %error, "a local program's connection broke");
    }
    door.metrics.callers.dec();
}

async fn converse(visit: Visit<'_>, socket: &Socket) -> io::Result<()> {
    let Visit { door, local, .. } = visit;
    // Offers end with the connection that made them.
    let mut offers = Vec::new();
    loop {
        let heard = tokio::select! {
            heard = socket.when_readable(|from| local.with_buffer(|buffer| hear(&from, buffer))) => heard?,
            () = door.drain.started() => return Ok(()),
        };
        let (answer, goes_on) = match heard {
            Heard::End => return Ok(()),
            Heard::Request(request, descriptors) => {
                let answer = answer::to(visit, request, descriptors, &mut offers).await;
                (answer, true)
            }
            Heard::Wrong(problem) => (Err(problem), true),
            Heard::Broken(problem) => (Err(problem), false),
        };
        reply(door, socket, answer).await?;
        if !goes_on {
            return Ok(());
        }
    }
}

/// Takes the next packet off a connection. `WouldBlock` when there is none.
pub(crate) fn hear(from: &impl Passing, buffer: &mut [u8]) -> io::Result<Heard> {
    let room = buffer.len().min(LONGEST);
    let packet = match from.receive(&mut buffer[..room]) {
        Ok(packet) => packet,
        Err(ReceiveError::Socket(error)) => return Err(error),
        Err(error) => return Ok(Heard::Broken(Problem::new(ProblemKind::Malformed, error))),
    };
    if packet.length == 0 {
        return Ok(Heard::End);
    }
    Ok(match parse(&buffer[..packet.length]) {
        Ok(request) => Heard::Request(request, packet.descriptors),
        Err(problem) => Heard::Wrong(problem),
    })
}

/// Reads a request. Whatever the bytes are, it ends well: see [`crate::fuzz`].
pub(crate) fn parse(bytes: &[u8]) -> Result<Request, Problem> {
    let request: Request = serde_json::from_slice(bytes)
        .map_err(|error| Problem::new(ProblemKind::Malformed, format!("this is no request: {error}")))?;
    if request.v != VERSION {
        let text = format!("the request is in version {}; version {VERSION} is spoken here", request.v);
        return Err(Problem::new(ProblemKind::Version, text));
    }
    Ok(request)
}

async fn reply(door: &Door, socket: &Socket, answer: Result<Answer, Problem>) -> io::Result<()> {
    let Answer { reply, descriptor } = answer.unwrap_or_else(|problem| {
        door.metrics.refused(problem.kind);
        Answer::from(problem)
    });
    let bytes = serde_json::to_vec(&reply)?;
    let passed: Vec<_> = descriptor.iter().map(AsFd::as_fd).collect();
    let sending = socket.when_writable(|socket| socket.send(&bytes, &passed));
    let sent = tokio::time::timeout(door.config.reply_timeout, sending).await;
    sent.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read its replies")))?;
    Ok(())
}

/// Tells a program that there is no place for it. It may not be listening; then it learns by the end.
pub(crate) fn turn_away(door: &Door, socket: &OwnedFd, why: &str) {
    door.metrics.refused(ProblemKind::Busy);
    let problem = Problem::new(ProblemKind::Busy, format!("too many programs are connected: {why}"));
    if let Ok(bytes) = serde_json::to_vec(&Answer::from(problem).reply) {
        let _ = socket.send(&bytes, &[]);
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Answer {
        Answer { reply: Reply { v: VERSION, error: Some(problem), ..Reply::default() }, descriptor: None }
    }
}

#[cfg(test)]
mod tests {
    use consul::broker::Operation;
    use sys::pass::Script;

    use super::*;

    fn heard(script: Script) -> Heard {
        hear(&script, &mut vec![0; LONGEST]).unwrap()
    }

    #[test]
    fn a_request_comes_with_its_descriptors() {
        let (one, _other) = sys::pass::pair(sys::pass::Kind::Stream).unwrap();
        let bytes = br#"{"v":1,"op":"offer","name":"pong"}"#;
        let Heard::Request(request, descriptors) = heard(Script::default().then(bytes, vec![one])) else {
            panic!("no request");
        };
        assert_eq!((request.op, request.name.as_deref()), (Operation::Offer, Some("pong")));
        assert_eq!(descriptors.len(), 1);
    }

    #[test]
    fn lost_descriptors_and_long_packets_end_the_conversation() {
        let lost = heard(Script::default().then_fail(ReceiveError::DescriptorsLost));
        assert!(matches!(lost, Heard::Broken(problem) if problem.message.contains("lost")));
        let long = heard(Script::default().then(&[b' '; LONGEST + 1], vec![]));
        assert!(matches!(long, Heard::Broken(problem) if problem.message.contains("65536")));
    }

    #[test]
    fn what_cannot_be_read_is_answered_and_the_next_may_be_better() {
        for (bytes, kind) in [
            (&b"hello"[..], ProblemKind::Malformed),
            (br#"{"v":1,"op":"connect","name":"a","nmae":"b"}"#, ProblemKind::Malformed),
            (br#"{"v":1,"op":"conect"}"#, ProblemKind::Malformed),
            (br#"{"v":2,"op":"list"}"#, ProblemKind::Version),
            (b"\xff\xfe", ProblemKind::Malformed),
        ] {
            let Heard::Wrong(problem) = heard(Script::default().then(bytes, vec![])) else {
                panic!("{bytes:?} was read");
            };
            assert_eq!(problem.kind, kind, "{problem}");
        }
        assert!(matches!(heard(Script::default()), Heard::End));
    }
}
