//! Promises about foreign bytes, as plain functions.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use rustls::pki_types::CertificateDer;

use crate::frame;
use crate::hello::{self, Hello};
use crate::identity::{self, KeyHash};
use crate::preface;
use crate::trust::Naming;

/// A slice never makes a reader wait.
#[allow(clippy::panic, reason = "a broken promise is told by a panic")]
fn now<T>(reading: impl Future<Output = T>) -> T {
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a reader waits although all is there"),
    }
}

/// What opens links and streams, and the frames behind it.
///
/// # Panics
/// When a promise is broken.
pub fn opening(bytes: &[u8]) {
    if let Ok(hello) = now(hello::read(&mut &bytes[..])) {
        let again = hello.encode();
        assert!(now(hello::read(&mut &again[..])).is_ok_and(|read: Hello| read == hello));
        let _ = hello::common_version(hello.speaks, crate::Speaks::default());
    }
    let _ = now(hello::read_answer(&mut &bytes[..]));
    if let Ok(kind) = now(preface::read(&mut &bytes[..])) {
        let mut again = bytes::BytesMut::new();
        kind.preface(&mut again);
        assert!(bytes.starts_with(&again), "a kind is written otherwise than it was read");
    }
}

/// Frames: read until something is refused; none is longer than what was sent.
///
/// # Panics
/// When a promise is broken.
pub fn frames(bytes: &[u8]) {
    const LONGEST: usize = 4096;
    let mut rest = bytes;
    while let Ok(Some(frame)) = now(frame::read(&mut rest, LONGEST)) {
        assert!(frame.len() <= LONGEST && frame.len() + rest.len() + 4 <= bytes.len());
    }
}

/// Names and keys in certificates.
///
/// # Panics
/// When a promise is broken.
pub fn certificate(bytes: &[u8]) {
    let certificate = CertificateDer::from(bytes);
    let naming = Naming::Spiffe { domain: "blue.example".to_owned() };
    if let Ok(name) = identity::name_of(&certificate, &naming) {
        assert!(identity::is_node_name(&name), "a name has letters that no name has");
    }
    let _ = identity::name_of(&certificate, &Naming::Dns);
    let _ = KeyHash::of_certificate(&certificate);
}
