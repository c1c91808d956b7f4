//! SOCKS5 (RFC 1928), with user and password (RFC 1929).

use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::BytesMut;
use relay::Stream;
use route::Principal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::accept::{Client, Scheme};
use super::reach::{Reached, reach};
use super::who::Shown;
use super::{pump, target};

const NOTHING: u8 = 0;
const PASSWORD: u8 = 2;
const NONE_OF_THESE: u8 = 0xff;

/// What a client says, in order.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    /// The ways to prove itself that it knows.
    Methods(Vec<u8>),
    /// A user and a password.
    Password(String, String),
    /// Where it wants to go.
    Request { command: u8, host: String, port: u16 },
}

/// Bytes that are no SOCKS5; what is answered, if anything.
#[derive(Debug, PartialEq, Eq)]
struct Malformed(u8);

/// What is to be read next.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Methods,
    Password,
    Request,
}

/// What stands at the beginning of `bytes`, with its length; `None` while it is not all there.
fn read(stage: Stage, bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let counted = |at: usize| {
        let length = usize::from(*bytes.get(at)?);
        Some((bytes.get(at + 1..at + 1 + length)?, at + 1 + length))
    };
    match (stage, bytes.first()) {
        (_, None) => Ok(None),
        (Stage::Methods | Stage::Request, Some(5)) | (Stage::Password, Some(1)) => Ok(match stage {
            Stage::Methods => counted(1).map(|(methods, end)| (Said::Methods(methods.to_vec()), end)),
            Stage::Password => counted(1).and_then(|(user, at)| {
                let (secret, end) = counted(at)?;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                Some((Said::Password(text(user), text(secret)), end))
            }),
            Stage::Request => return request(bytes),
        }),
        _ => Err(Malformed(1)),
    }
}

fn request(bytes: &[u8]) -> Result<Option<(Said, usize)>, Malformed> {
    let [_, command, _, kind, rest @ ..] = bytes else { return Ok(None) };
    let (host, at) = match kind {
        1 => match rest.first_chunk::<4>() {
            Some(four) => (Ipv4Addr::from(*four).to_string(), 4),
            None => return Ok(None),
        },
        4 => match rest.first_chunk::<16>() {
            Some(sixteen) => (Ipv6Addr::from(*sixteen).to_string(), 16),
            None => return Ok(None),
        },
        3 => {
            let Some(length) = rest.first().map(|length| usize::from(*length)) else { return Ok(None) };
            let Some(name) = rest.get(1..1 + length) else { return Ok(None) };
            // A name that is none is refused like one that does not exist.
            (String::from_utf8_lossy(name).into_owned(), 1 + length)
        }
        _ => return Err(Malformed(8)),
    };
    let Some(port) = rest.get(at..at + 2).and_then(|two| two.try_into().ok()) else { return Ok(None) };
    let port = u16::from_be_bytes(port);
    Ok(Some((Said::Request { command: *command, host, port }, 4 + at + 2)))
}

/// Serves a client; `first` was read of it.
pub(super) async fn serve(client: Client, mut stream: Stream, mut first: BytesMut) {
    let patience = client.face.config.handshake_timeout;
    let reached = match tokio::time::timeout(patience, negotiate(&client, &mut stream, &mut first)).await {
        Ok(Some(reached)) => reached,
        Ok(None) => return,
        Err(_) => {
            client.face.metrics.refused("slow");
            return;
        }
    };
    client.face.metrics.opened("socks");
    pump::run(&client, stream, reached, first.freeze()).await;
}

async fn negotiate(client: &Client, stream: &mut Stream, input: &mut BytesMut) -> Option<Reached> {
    let Some(Said::Methods(methods)) = hear(client, stream, input, Stage::Methods).await else { return None };
    let principal = identify(client, stream, input, &methods).await?;
    let said = hear(client, stream, input, Stage::Request).await;
    let Some(Said::Request { command, host, port }) = said else { return None };
    if command != 1 {
        client.face.metrics.refused("command");
        return answer(stream, 7).await.and(None);
    }
    let Some(target) = target::of(&host, port, &client.face.config.domains) else {
        client.face.metrics.refused("malformed");
        return answer(stream, 4).await.and(None);
    };
    match reach(client, &principal, Scheme::Socks, &target).await {
        Ok(reached) => answer(stream, 0).await.map(|()| reached),
        Err(refusal) => {
            refusal.note(client);
            answer(stream, refusal.socks()).await.and(None)
        }
    }
}

/// Who it is: by a password where the client has one, else by what is known of it anyway.
async fn identify(
    client: &Client,
    stream: &mut Stream,
    input: &mut BytesMut,
    methods: &[u8],
) -> Option<Principal> {
    if methods.contains(&PASSWORD) {
        stream.write_all(&[5, PASSWORD]).await.ok()?;
        stream.flush().await.ok()?;
        let said = hear(client, stream, input, Stage::Password).await;
        let Some(Said::Password(user, secret)) = said else { return None };
        let Ok(Some(principal)) = client.principal(Some(&Shown { user, secret })) else {
            client.repent().await;
            stream.write_all(&[1, 1]).await.ok()?;
            let _ = stream.shutdown().await;
            return None;
        };
        stream.write_all(&[1, 0]).await.ok()?;
        stream.flush().await.ok()?;
        return Some(principal);
    }
    match client.known().filter(|_| methods.contains(&NOTHING)) {
        Some(principal) => {
            stream.write_all(&[5, NOTHING]).await.ok()?;
            stream.flush().await.ok()?;
            Some(principal)
        }
        None => {
            client.face.metrics.refused("unproven");
            stream.write_all(&[5, NONE_OF_THESE]).await.ok()?;
            let _ = stream.shutdown().await;
            None
        }
    }
}

async fn hear(client: &Client, stream: &mut Stream, input: &mut BytesMut, stage: Stage) -> Option<Said> {
    loop {
        match read(stage, input) {
            Ok(Some((said, length))) => {
                let _ = input.split_to(length);
                return Some(said);
            }
            // Nothing of it is longer than three counted texts.
            Ok(None) if input.len() > 1024 => return None,
            Ok(None) => {}
            Err(Malformed(code)) => {
                client.face.metrics.refused("malformed");
                if matches!(stage, Stage::Request) {
                    let _ = answer(stream, code).await;
                }
                return None;
            }
        }
        if stream.read_buf(input).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers a request, and closes where there is nothing more to say. The address that we use toward the service is
/// nobody's business.
async fn answer(stream: &mut Stream, code: u8) -> Option<()> {
    stream.write_all(&[5, code, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
    stream.flush().await.ok()?;
    if code != 0 {
        let _ = stream.shutdown().await;
    }
    Some(())
}

/// Any bytes at any stage: what is taken lies inside them and does not depend on what follows.
pub(crate) fn fuzz(bytes: &[u8]) {
    for stage in [Stage::Methods, Stage::Password, Stage::Request] {
        if let Ok(Some((said, length))) = read(stage, bytes) {
            assert_eq!(read(stage, &bytes[..length]), Ok(Some((said, length))));
            assert_eq!(read(stage, &bytes[..length - 1]), Ok(None));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_say_is_read() {
        assert_eq!(read(Stage::Methods, b"\x05\x02\x00\x02"), Ok(Some((Said::Methods(vec![0, 2]), 4))));
        assert_eq!(
            read(Stage::Password, b"\x01\x01a\x02bc"),
            Ok(Some((Said::Password("a".into(), "bc".into()), 6)))
        );
        let named = b"\x05\x01\x00\x03\x03web\x00\x50rest";
        let request = |host: &str, port| Said::Request { command: 1, host: host.into(), port };
        assert_eq!(read(Stage::Request, named), Ok(Some((request("web", 80), 10))));
        let four = b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x16";
        assert_eq!(read(Stage::Request, four), Ok(Some((request("127.0.0.1", 22), 10))));
        assert_eq!(read(Stage::Request, &four[..9]), Ok(None));
        assert_eq!(read(Stage::Request, b"\x05\x01\x00\x05"), Err(Malformed(8)));
        assert_eq!(read(Stage::Methods, b"\x04\x01"), Err(Malformed(1)));
    }
}
