//! Promises about foreign bytes, as plain functions.

use std::path::Path;

use crate::config::Config;
use crate::parser::Parser;

/// Records in any cut: the first byte says how the rest is cut. Whatever is read is written the same again, and
/// nothing is kept beyond the limit.
///
/// # Panics
/// When a promise is broken.
#[allow(clippy::panic, clippy::expect_used, reason = "a broken promise is told by a panic")]
pub fn records(bytes: &[u8]) {
    const LONGEST: usize = 4096;
    let Some((first, rest)) = bytes.split_first() else { return };
    let read = |cut: usize| {
        let mut parser = Parser::new(LONGEST);
        let mut records = Vec::new();
        for piece in rest.chunks(cut) {
            parser.append(piece);
            for record in parser.by_ref() {
                records.push(record.ok());
            }
            assert!(parser.held() <= LONGEST, "{} bytes are kept", parser.held());
        }
        records
    };
    let records = read(usize::from(*first).max(1));
    assert!(records == read(rest.len().max(1)), "the cut matters");
    for message in records.into_iter().flatten() {
        let mut parser = Parser::default();
        parser.append(&message.to_record().expect("what was read can be written"));
        let again = parser.next().expect("one record").expect("a good one");
        // Not the whole: fractions, which px never sends, may change in their last digit.
        assert_eq!((again.from, again.to), (message.from, message.to));
    }
}

/// A px file: read or refused.
pub fn config(bytes: &[u8]) {
    let _ = Config::parse(&String::from_utf8_lossy(bytes), Path::new("px.json"));
}
