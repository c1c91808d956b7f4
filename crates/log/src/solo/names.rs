//! What the files of a log are called.

use crate::Index;

/// What a file is, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// A segment whose first entry has this index.
    Segment(Index),
    /// A segment that nothing needs any more, kept to be used again.
    Spare(u64),
    /// A checkpoint at this index.
    Checkpoint(Index),
    /// Something that was not finished.
    Unfinished,
    /// Not the log's.
    Foreign,
}

/// The checkpoint that is being written.
pub(crate) const NEW_CHECKPOINT: &str = "checkpoint.new";
/// The segment that is being made.
pub(crate) const NEW_SEGMENT: &str = "segment.new";

pub(crate) fn segment(first: Index) -> String {
    format!("segment-{first:020}")
}

pub(crate) fn spare(number: u64) -> String {
    format!("spare-{number:020}")
}

pub(crate) fn checkpoint(index: Index) -> String {
    format!("checkpoint-{index:020}")
}

/// Where a checkpoint that cannot be read is put, out of the way and not destroyed.
pub(crate) fn damaged(name: &str) -> String {
    format!("{name}.damaged")
}

impl Name {
    pub(crate) fn parse(name: &str) -> Self {
        let number = |prefix: &str| {
            let digits =
                name.strip_prefix(prefix).filter(|d| d.len() == 20 && d.bytes().all(|b| b.is_ascii_digit()));
            // Indexes start at 1; room is left above so that no arithmetic on one overflows.
            digits.and_then(|d| d.parse::<u64>().ok()).filter(|n| (1..1 << 62).contains(n))
        };
        if name == NEW_CHECKPOINT || name == NEW_SEGMENT {
            return Self::Unfinished;
        }
        let known = number("segment-").map(Self::Segment);
        let known = known.or_else(|| number("spare-").map(Self::Spare));
        known.or_else(|| number("checkpoint-").map(Self::Checkpoint)).unwrap_or(Self::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_others_are_left_alone() {
        assert_eq!(Name::parse(&segment(7)), Name::Segment(7));
        assert_eq!(Name::parse(&spare(12)), Name::Spare(12));
        assert_eq!(Name::parse(&checkpoint(1 << 40)), Name::Checkpoint(1 << 40));
        assert_eq!(Name::parse(NEW_SEGMENT), Name::Unfinished);
        let odd = ["lock", "segment-7", "checkpoint-+0000000000000000007"].map(str::to_owned);
        for foreign in odd.iter().chain(&[damaged(&checkpoint(1)), segment(0), checkpoint(u64::MAX)]) {
            assert_eq!(Name::parse(foreign), Name::Foreign, "{foreign}");
        }
    }
}
