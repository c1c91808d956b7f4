//! What the two sides show each other.

use std::io;
use std::sync::Arc;

use ring::hmac;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::key::{Key, Keys, is_identity};

/// Name of this exchange in TLS (ALPN).
pub const PROTOCOL: &str = "portolan-psk/1";

/// What is the same on both sides of one handshake and of no other: TLS's exporter.
pub type Binding = [u8; 32];

const PROOF: usize = 32;
const LONGEST_IDENTITY: usize = 128;

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

impl Side {
    fn word(self) -> &'static [u8] {
        match self {
            Side::Client => b"portolan psk 1 client\0",
            Side::Server => b"portolan psk 1 server\0",
        }
    }
}

fn context(key: &[u8], side: Side, binding: &Binding, identity: &str) -> (hmac::Key, Vec<u8>) {
    let said = [side.word(), &binding[..], identity.as_bytes()].concat();
    (hmac::Key::new(hmac::HMAC_SHA256, key), said)
}

fn proof(key: &[u8], side: Side, binding: &Binding, identity: &str) -> hmac::Tag {
    let (key, said) = context(key, side, binding, identity);
    hmac::sign(&key, &said)
}

/// In a time that does not depend on where a proof is wrong.
fn holds(key: &[u8], side: Side, binding: &Binding, identity: &str, shown: &[u8]) -> bool {
    let (key, said) = context(key, side, binding, identity);
    hmac::verify(&key, &said, shown).is_ok()
}

/// Shows the server who we are, and waits until it has shown that it has the key too. The caller bounds the time.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] when it does not, or does not believe us; else the connection's.
pub async fn prove<S>(stream: &mut S, binding: &Binding, identity: &str, key: &Key) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let length = u8::try_from(identity.len()).ok().filter(|_| is_identity(identity));
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "no identity of a key"))?;
    let shown = proof(key.bytes(), Side::Client, binding, identity);
    stream.write_all(&[&[length][..], identity.as_bytes(), shown.as_ref()].concat()).await?;
    stream.flush().await?;
    let mut theirs = [0; PROOF];
    let refused = |text: &str| io::Error::new(io::ErrorKind::PermissionDenied, text.to_owned());
    match stream.read_exact(&mut theirs).await {
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            Err(refused(&format!("it does not accept the pre-shared key of \"{identity}\"")))
        }
        Err(cause) => Err(cause),
        Ok(_) if holds(key.bytes(), Side::Server, binding, identity, &theirs) => Ok(()),
        Ok(_) => Err(refused("it does not have the pre-shared key: somebody else answers there")),
    }
}

/// Reads who a client is and lets it prove that, then proves the same. An unknown identity takes as long as a
/// wrong key, and is answered alike. The caller bounds the time.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] when the client has no such key; else the connection's.
pub async fn check<S>(stream: &mut S, binding: &Binding, keys: &Keys) -> io::Result<Arc<str>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut said = [0; LONGEST_IDENTITY + PROOF];
    let length = usize::from(stream.read_u8().await?);
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "no identity of a key");
    let said = said.get_mut(..length + PROOF).ok_or_else(odd)?;
    stream.read_exact(said).await?;
    let (identity, shown) = said.split_at(length);
    let identity = std::str::from_utf8(identity).ok().filter(|text| is_identity(text)).ok_or_else(odd)?;
    let known = keys.get(identity);
    let key = known.map_or(&[0; 32][..], |(_, key)| key.bytes());
    let is_proven = holds(key, Side::Client, binding, identity, shown);
    let Some((name, key)) = known.filter(|_| is_proven) else {
        let text = format!("no proof of the pre-shared key of \"{identity}\"");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
    };
    stream.write_all(proof(key.bytes(), Side::Server, binding, identity).as_ref()).await?;
    stream.flush().await?;
    Ok(name.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const BINDING: Binding = [7; 32];

    fn key(digit: &str) -> Key {
        Key::parse(&digit.repeat(32)).unwrap()
    }

    fn keys() -> Keys {
        Keys::parse(Path::new("keys"), &format!("authd:{}", key("a").reveal())).unwrap()
    }

    async fn meet(identity: &str, with: &Key, theirs: &Binding) -> (io::Result<()>, io::Result<Arc<str>>) {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let keys = keys();
        let checking = async move {
            let checked = check(&mut server, theirs, &keys).await;
            drop(server);
            checked
        };
        tokio::join!(prove(&mut client, &BINDING, identity, with), checking)
    }

    #[tokio::test]
    async fn both_sides_prove_the_key() {
        let (proven, checked) = meet("authd", &key("a"), &BINDING).await;
        proven.unwrap();
        assert_eq!(&*checked.unwrap(), "authd");
    }

    #[tokio::test]
    async fn another_key_another_identity_and_another_handshake_are_refused() {
        for (identity, with, theirs) in
            [("authd", "b", BINDING), ("nobody", "a", BINDING), ("authd", "a", [8; 32])]
        {
            let (proven, checked) = meet(identity, &key(with), &theirs).await;
            assert_eq!(proven.unwrap_err().kind(), io::ErrorKind::PermissionDenied, "{identity} {with}");
            assert_eq!(checked.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        }
    }

    #[tokio::test]
    async fn a_server_that_only_repeats_what_it_hears_is_found_out() {
        let (mut client, mut server) = tokio::io::duplex(1024);
        let repeating = async move {
            let mut heard = [0; 1 + 5 + PROOF];
            server.read_exact(&mut heard).await.unwrap();
            server.write_all(&heard[6..]).await.unwrap();
        };
        let key = key("a");
        let (proven, ()) = tokio::join!(prove(&mut client, &BINDING, "authd", &key), repeating);
        assert!(proven.unwrap_err().to_string().contains("somebody else"));
    }
}
