//! What carries our mark in a zone, found by transferring it (AXFR, RFC 5936), signed each way.
//!
//! Only for who asks: nothing that keeps names needs it, and servers that allow updates need not allow transfers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use domain::base::iana::{Class, Rcode, Rtype};
use domain::base::{Message, MessageBuilder};
use domain::rdata::Txt;
use domain::rdata::tsig::Time48;
use domain::tsig::{ClientSequence, Key as TsigKey};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::shared::MEMBER;
use super::update::{MARK, WireName};
use super::{Key, NameError};
use crate::wish::NameKind;

/// Longest that a transfer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Most messages of one transfer.
const MOST_MESSAGES: usize = 4096;

/// Names of a zone that carry a mark, each with its owner.
pub(super) async fn marked(
    server: SocketAddr,
    zone: &WireName,
    key: Arc<TsigKey>,
) -> Result<Vec<(Key, String)>, NameError> {
    match tokio::time::timeout(LIMIT, transfer(server, zone, key)).await {
        Ok(found) => found,
        Err(_) => Err(NameError::Silent(format!("{server} did not transfer the zone within {LIMIT:?}"))),
    }
}

async fn transfer(
    server: SocketAddr,
    zone: &WireName,
    key: Arc<TsigKey>,
) -> Result<Vec<(Key, String)>, NameError> {
    let (request, mut sequence) = request(zone, key)?;
    let silent = |cause: std::io::Error| NameError::Silent(format!("{server}: {cause}"));
    let mut stream = TcpStream::connect(server).await.map_err(silent)?;
    let length =
        u16::try_from(request.len()).map_err(|_| NameError::Refused("the question is long".into()))?;
    stream.write_all(&length.to_be_bytes()).await.map_err(silent)?;
    stream.write_all(&request).await.map_err(silent)?;
    let (mut found, mut ends) = (Vec::new(), 0);
    for _ in 0..MOST_MESSAGES {
        let mut bytes = vec![0; stream.read_u16().await.map_err(silent)?.into()];
        stream.read_exact(&mut bytes).await.map_err(silent)?;
        let mut message = Message::from_octets(bytes).map_err(|_| broken())?;
        let rcode = message.header().rcode();
        if rcode != Rcode::NOERROR {
            return Err(NameError::Refused(format!("{rcode}; the key must be allowed to transfer the zone")));
        }
        let signed = sequence.answer(&mut message, Time48::now());
        signed.map_err(|error| NameError::Signature(error.to_string()))?;
        ends += read(&message, &mut found)?;
        // The zone's SOA begins it and ends it.
        if ends >= 2 {
            return sequence.done().map(|()| found).map_err(|error| NameError::Signature(error.to_string()));
        }
    }
    Err(NameError::Silent("the zone does not end".into()))
}

fn request(zone: &WireName, key: Arc<TsigKey>) -> Result<(Vec<u8>, ClientSequence<Arc<TsigKey>>), NameError> {
    let refused = |error: domain::base::message_builder::PushError| NameError::Refused(error.to_string());
    let mut builder = MessageBuilder::new_vec();
    builder.header_mut().set_id(fastrand::u16(..));
    let mut question = builder.question();
    question.push((zone, Rtype::AXFR, Class::IN)).map_err(refused)?;
    let mut message = question.additional();
    let sequence = ClientSequence::request(key, &mut message, Time48::now()).map_err(refused)?;
    Ok((message.finish(), sequence))
}

/// Takes the marks of one message; how many SOA records there were.
fn read(message: &Message<Vec<u8>>, found: &mut Vec<(Key, String)>) -> Result<usize, NameError> {
    let mut ends = 0;
    for record in message.answer().map_err(|_| broken())? {
        let record = record.map_err(|_| broken())?;
        ends += usize::from(record.rtype() == Rtype::SOA);
        let Some(key) = beside(&record.owner().to_string().to_ascii_lowercase()) else { continue };
        let Some(text) = record.to_record::<Txt<_>>().map_err(|_| broken())? else { continue };
        let text: Vec<u8> = text.data().iter().flatten().copied().collect();
        let text = String::from_utf8_lossy(&text).into_owned();
        let member = || text.strip_prefix(MEMBER)?.split(' ').next();
        let owner = text.strip_prefix(MARK).or_else(member);
        found.extend(owner.map(|owner| (key, owner.to_owned())));
    }
    Ok(ends)
}

/// The name that such a mark stands beside: the reverse of [`super::update::side_name`].
fn beside(side: &str) -> Option<Key> {
    let (label, rest) = side.trim_end_matches('.').strip_prefix("_portolan-")?.split_once('.')?;
    let (name, kind) = match label.strip_prefix("any-") {
        Some(kind) => (format!("*.{rest}"), kind),
        None => (rest.to_owned(), label),
    };
    let kinds = [NameKind::A, NameKind::Aaaa, NameKind::Cname, NameKind::Srv, NameKind::Txt];
    let kind = kinds.into_iter().find(|known| known.word().eq_ignore_ascii_case(kind))?;
    Some((name.into(), kind))
}

fn broken() -> NameError {
    NameError::Silent("its answer is no DNS message".into())
}

#[cfg(test)]
mod tests {
    use super::super::update::side_name;
    use super::*;

    #[test]
    fn a_mark_tells_its_name() {
        for key in [("www.example.org".into(), NameKind::A), ("*.apps.example.org".into(), NameKind::Cname)] {
            assert_eq!(beside(&format!("{}.", side_name(&key))), Some(key));
        }
        assert_eq!(beside("any._portolan-a.www.example.org."), None);
        assert_eq!(beside("_portolan-mx.example.org."), None);
    }
}
