//! Bytes in, records out: a stream does not deliver one record at a time.

use crate::message::Message;

/// What ends a record.
pub(crate) const END: u8 = b'\r';
/// Longest record that is read, in bytes. px has no limit.
pub const LONGEST_RECORD: usize = 1 << 20;

/// Append what arrived, then take the records that are complete.
///
/// Empty records are skipped. One that is bad or too long costs itself alone: what follows it is read.
#[derive(Debug)]
pub struct Parser {
    bytes: Vec<u8>,
    /// Where the next record begins.
    at: usize,
    /// Up to here no end was found.
    searched: usize,
    /// Inside a record that is too long, which was told already.
    skipping: bool,
    longest: usize,
}

/// A record that is none.
#[derive(Debug, thiserror::Error)]
pub enum BadRecord {
    /// Not JSON, or not a message.
    #[error("a record of {length} bytes is no message: {cause}")]
    NoMessage {
        /// How long it is.
        length: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
    /// Longer than allowed.
    #[error("a record is longer than {0} bytes")]
    TooLong(usize),
}

impl Default for Parser {
    fn default() -> Self {
        Parser::new(LONGEST_RECORD)
    }
}

impl Parser {
    /// A parser that refuses records of more than `longest` bytes.
    pub fn new(longest: usize) -> Parser {
        Parser { bytes: Vec::new(), at: 0, searched: 0, skipping: false, longest }
    }

    /// Appends what arrived. Take the records out before the next call: complete ones are kept until then.
    pub fn append(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.searched -= self.at;
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// Bytes that are held for records which are not complete.
    pub fn held(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The record that begins at `at`, without its end.
    fn next_record(&mut self) -> Option<Result<std::ops::Range<usize>, BadRecord>> {
        let found = self.bytes[self.searched..].iter().position(|byte| *byte == END);
        let Some(end) = found.map(|offset| self.searched + offset) else {
            self.searched = self.bytes.len();
            return self.too_long_already().then_some(Err(BadRecord::TooLong(self.longest)));
        };
        let record = self.at..end;
        (self.at, self.searched) = (end + 1, end + 1);
        if std::mem::take(&mut self.skipping) {
            return Some(Ok(end..end));
        }
        Some(if record.len() > self.longest { Err(BadRecord::TooLong(self.longest)) } else { Ok(record) })
    }

    /// Gives up a record whose end has not come; true when this is to be told.
    fn too_long_already(&mut self) -> bool {
        if !self.skipping && self.bytes.len() - self.at <= self.longest {
            return false;
        }
        self.at = self.bytes.len();
        !std::mem::replace(&mut self.skipping, true)
    }
}

/// The records that are complete by now; more may follow after the next [`Parser::append`].
impl Iterator for Parser {
    type Item = Result<Message, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.next_record()? {
                Ok(record) => &self.bytes[record],
                Err(bad) => return Some(Err(bad)),
            };
            if record.is_empty() {
                continue;
            }
            let bad = |cause| BadRecord::NoMessage { length: record.len(), cause };
            return Some(serde_json::from_slice(record).map_err(bad));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::Content;

    fn ping(seqnum: u64) -> Message {
        let content = Content::Ping { seqnum, message: "x".repeat(seqnum as usize % 50) };
        Message { from: "a".into(), to: "b".into(), content }
    }

    fn read(parser: &mut Parser) -> Vec<Option<u64>> {
        let number = |message: Message| match message.content {
            Content::Ping { seqnum, .. } => seqnum,
            other => panic!("{other:?}"),
        };
        parser.map(|record| record.ok().map(number)).collect()
    }

    #[test]
    fn a_bad_record_costs_itself_alone() {
        let mut bytes = b"\r\r{]\r".to_vec();
        bytes.extend(ping(1).to_record().unwrap());
        bytes.extend(b"{\"from\":1}\r\r");
        bytes.extend(ping(2).to_record().unwrap());
        let mut parser = Parser::default();
        parser.append(&bytes);
        assert_eq!(read(&mut parser), [None, Some(1), None, Some(2)]);
        assert_eq!(parser.held(), 0);
    }

    #[test]
    fn a_record_without_an_end_is_told_once_and_not_kept() {
        let mut parser = Parser::new(100);
        let mut told = 0;
        for _ in 0..1000 {
            parser.append(&[b'x'; 64]);
            told += read(&mut parser).len();
            assert!(parser.held() <= 100);
        }
        assert_eq!(told, 1);
        parser.append(b"x\r");
        parser.append(&ping(3).to_record().unwrap());
        assert_eq!(read(&mut parser), [Some(3)]);
        // Too long, and complete in one piece.
        let mut bytes = vec![b'x'; 101];
        bytes.push(END);
        bytes.extend(ping(4).to_record().unwrap());
        parser.append(&bytes);
        assert_eq!(read(&mut parser), [None, Some(4)]);
    }

    proptest! {
        #[test]
        fn however_the_stream_is_cut_the_records_are_the_same(
            numbers in prop::collection::vec(0u64..1000, 0..20),
            cuts in prop::collection::vec(1usize..40, 1..200),
        ) {
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| ping(*number).to_record().unwrap()).collect();
            let mut parser = Parser::default();
            let mut found = Vec::new();
            let mut rest = &bytes[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                rest = later;
                parser.append(now);
                found.extend(read(&mut parser));
            }
            prop_assert_eq!(found, numbers.into_iter().map(Some).collect::<Vec<_>>());
        }
    }
}
