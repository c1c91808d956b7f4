//! Archives: a gzip tar (RFC 1952, POSIX ustar) of a few files and of `SHA256SUMS`, which holds their sums as
//! `sha256sum -c` reads them. It is the outer form of Consul's snapshots, so that `tar` and people find their way.
//!
//! [`pack`] and [`unpack`] work on bytes in memory. What the files mean is not known here.
//!
//! Absent on purpose: nothing is ever written to a path that an archive names.

mod gzip;
mod tar;

/// Name of the file with the sums.
pub const SUMS: &str = "SHA256SUMS";

/// Why bytes are no archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// Not gzip, or cut off.
    #[error("read the archive: {0}")]
    Gzip(&'static str),
    /// More than was agreed to take, once unpacked.
    #[error("read the archive: it holds more than {limit} bytes")]
    TooLarge {
        /// Most bytes.
        limit: usize,
    },
    /// Not a tar of plain files.
    #[error("read the archive: byte {at} of the tar: {why}")]
    Tar {
        /// Where.
        at: usize,
        /// What is wrong there.
        why: &'static str,
    },
    /// There are no sums, or not of every file.
    #[error("read the archive: {SUMS} does not say what the sum of {name} is")]
    NoSum {
        /// Of which file.
        name: String,
    },
    /// A file is not what it was.
    #[error("read the archive: {name} does not have the sum that {SUMS} says")]
    OtherSum {
        /// Which file.
        name: String,
    },
    /// A file that has a sum is not there.
    #[error("read the archive: {name} is missing")]
    Missing {
        /// Which file.
        name: String,
    },
}

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Name, without folders.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

/// Packs files, with their sums. `time_s` is what they are dated, in Unix seconds.
pub fn pack(files: &[(&str, &[u8])], time_s: u64) -> Vec<u8> {
    let sums: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", sum(bytes))).collect();
    let all = files.iter().copied().chain([(SUMS, sums.as_bytes())]);
    gzip::compress(&tar::write(all, time_s), time_s)
}

/// Unpacks files whose sums are right; `limit` is the most bytes that they may have together.
///
/// # Errors
/// [`Damaged`], and nothing of it is to be trusted.
pub fn unpack(archive: &[u8], limit: usize) -> Result<Vec<File>, Damaged> {
    let mut files = tar::read(&gzip::decompress(archive, limit)?)?;
    let unsummed = |name: &str| Damaged::NoSum { name: name.to_owned() };
    let at = files.iter().position(|file| file.name == SUMS).ok_or_else(|| unsummed("anything"))?;
    let sums = files.remove(at);
    let sums = String::from_utf8(sums.bytes).map_err(|_| unsummed("anything"))?;
    // Text and binary mode of sha256sum differ by a space or an asterisk.
    let sums: Vec<(&str, &str)> = sums
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(sum, name)| (sum, name.trim_start_matches([' ', '*'])))
        .collect();
    for file in &files {
        let (wanted, _) =
            sums.iter().find(|(_, name)| *name == file.name).ok_or_else(|| unsummed(&file.name))?;
        if !wanted.eq_ignore_ascii_case(&sum(&file.bytes)) {
            return Err(Damaged::OtherSum { name: file.name.clone() });
        }
    }
    match sums.iter().find(|(_, name)| !files.iter().any(|file| file.name == *name)) {
        Some((_, name)) => Err(Damaged::Missing { name: (*name).to_owned() }),
        None => Ok(files),
    }
}

/// For fuzzing: any bytes are unpacked or refused.
pub fn fuzz_unpack(bytes: &[u8]) {
    const LIMIT: usize = 1 << 20;
    let _ = unpack(bytes, LIMIT);
    // Past the compression, which random bytes seldom get through.
    let _ = tar::read(bytes);
}

fn sum(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    fn example() -> Vec<u8> {
        pack(&[("meta.json", b"{}"), ("state.bin", &[7; 70_000])], 1_700_000_000)
    }

    #[test]
    fn what_was_packed_comes_out() {
        let files = unpack(&example(), LIMIT).unwrap();
        let names: Vec<_> = files.iter().map(|file| (&*file.name, file.bytes.len())).collect();
        assert_eq!(names, [("meta.json", 2), ("state.bin", 70_000)]);
        assert!(example().len() < 2000, "it is compressed");
    }

    #[test]
    fn the_limit_is_kept_before_the_memory_is_taken() {
        assert_eq!(unpack(&example(), 60_000), Err(Damaged::TooLarge { limit: 60_000 }));
    }

    #[test]
    fn a_changed_byte_is_never_taken_for_something_else() {
        let whole = example();
        let files = unpack(&whole, LIMIT).unwrap();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            // Some bits of gzip mean nothing.
            assert!(unpack(&bytes, LIMIT).is_ok_and(|same| same == files) || unpack(&bytes, LIMIT).is_err());
            assert!(unpack(&whole[..at], LIMIT).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn files_without_a_sum_and_sums_without_a_file_are_refused() {
        let one = |files: &[(&str, &[u8])]| gzip::compress(&tar::write(files.iter().copied(), 0), 0);
        assert!(matches!(unpack(&one(&[("a", b"x")]), LIMIT), Err(Damaged::NoSum { .. })));
        let sums = format!("{}  a\n", sum(b"x"));
        let with_sums = |files: &[(&str, &[u8])]| one(&[files, &[(SUMS, sums.as_bytes())]].concat());
        assert!(unpack(&with_sums(&[("a", b"x")]), LIMIT).is_ok());
        assert!(matches!(unpack(&with_sums(&[("a", b"y")]), LIMIT), Err(Damaged::OtherSum { .. })));
        assert!(matches!(unpack(&with_sums(&[]), LIMIT), Err(Damaged::Missing { .. })));
        assert!(matches!(unpack(&with_sums(&[("a", b"x"), ("b", b"")]), LIMIT), Err(Damaged::NoSum { .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            fuzz_unpack(&bytes);
        }

        #[test]
        fn any_files_come_out(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let files = unpack(&pack(&[("a", &bytes)], 0), LIMIT).unwrap();
            prop_assert_eq!(&files[0].bytes, &bytes);
        }
    }
}
