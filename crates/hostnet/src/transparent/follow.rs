//! The daemon's end: says what is to be led, and publishes what is.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::time::Duration;

use state::{Drain, Publisher, Reader};
use store::View;
use tokio::net::UnixStream;

use super::{Lead, Led};
use crate::config::{Interface, Range6};
use crate::firewall::guard::{Answer, Messages, Word, lost, send};

/// Longest that the end is waited for.
const CLOSING: Duration = Duration::from_secs(5);

/// What does not change while the daemon runs.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Port of the transparent listener.
    pub port: u16,
    /// Range and listener of IPv6.
    pub six: Option<(Range6, u16)>,
    /// Interfaces besides `lo` that may reach virtual addresses.
    pub from: Vec<Interface>,
}

/// Has the ranges led that the registry agreed on, by the process at the other end, and publishes which are, until the
/// drain starts. Without any led, virtual addresses are listened on one by one.
pub async fn run(
    stream: StdStream,
    settings: Settings,
    views: Reader<View>,
    led: Publisher<Led>,
    drain: Drain,
) {
    if let Err(cause) = through(stream, settings, views, &led, &drain).await {
        tracing::error!(%cause, "the process that leads virtual addresses here is lost; a restart brings it back");
        led.publish_if_changed(Led::default());
        drain.started().await;
    }
}

async fn through(
    stream: StdStream,
    settings: Settings,
    mut views: Reader<View>,
    led: &Publisher<Led>,
    drain: &Drain,
) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let mut stream = UnixStream::from_std(stream)?;
    let (from, mut to) = stream.split();
    let mut answers = Messages::new(from);
    let (mut asked, mut told) = (None, None);
    loop {
        let range = views.now().settings().virtual_ips;
        if asked != Some(range) {
            asked = Some(range);
            let Settings { port, six, from } = settings.clone();
            let lead = Lead { ranges: vec![range], port, six, from };
            send(&mut to, &Word::Lead(lead)).await?;
        }
        tokio::select! {
            () = drain.started() => break,
            view = views.next() => if view.is_none() { break },
            answer = answers.next::<Answer>() => take(answer?.ok_or_else(lost)?, &mut told, led),
        }
    }
    send(&mut to, &Word::Close).await?;
    let closed = async {
        while !matches!(answers.next::<Answer>().await?.ok_or_else(lost)?, Answer::Closed) {}
        Ok(())
    };
    tokio::time::timeout(CLOSING, closed).await.map_err(|_| io::Error::other("closing takes too long"))?
}

/// It is looked at again and again, and told once.
fn take(answer: Answer, told: &mut Option<String>, led: &Publisher<Led>) {
    let Answer::Leads { led: now, failure } = answer else { return };
    if let Some(cause) = failure.as_ref().filter(|_| *told != failure) {
        tracing::warn!(
            cause,
            "virtual addresses are not led to one listener; each has its own, where it can"
        );
    }
    led.publish_if_changed(if failure.is_none() { now } else { Led::default() });
    *told = failure;
}
