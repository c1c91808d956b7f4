//! Any bytes on the disk: refused or read, never a panic.

use proptest::prelude::*;

use super::super::checkpoint::Writer;
use super::super::format::{Integrity, Mark, Place, SegmentHeader, encode_batch};
use super::super::fuzz;
use super::*;
use crate::disk::Disk;
use crate::sim::Flaws;

const LENGTH: u64 = 16 << 10;

fn without_sums() -> Integrity {
    Integrity { sum: |_, _| 0, salt: Arc::new(|| 3) }
}

/// A good segment of a few batches, with sums that are all zero.
fn segment(first: u64, previous_end: u64, sizes: &[usize]) -> Vec<u8> {
    let integrity = without_sums();
    let header = SegmentHeader { first, salt: 3, length: LENGTH, previous_end };
    let mark = Mark::new(4096, 4096, LENGTH).encode(3, &integrity);
    let mut bytes = [&header.encode(&integrity)[..], &mark, &mark].concat();
    bytes.resize(4096, 0);
    let (mut next, mut batch) = (first, Vec::new());
    for &size in sizes {
        let payloads = vec![Bytes::from(vec![1; size]); size % 4];
        encode_batch(&mut batch, Place::quiet(next, bytes.len() as u64, 0), &payloads, 3, &integrity);
        next += payloads.len() as u64;
        bytes.extend_from_slice(&batch);
    }
    bytes.resize(usize::try_from(LENGTH).expect("small"), 0);
    bytes
}

fn checkpoint(state: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let disk = SimDisk::new(1, Flaws::default());
    let integrity = without_sums();
    let mut file = disk.create("c").expect("a file");
    let mut writer = Writer::new(&mut *file, 1, &integrity).expect("written");
    writer.write_all(state).expect("written");
    writer.finish().expect("written");
    disk.contents().remove("c").expect("it is there")
}

fn changed(mut bytes: Vec<u8>, changes: &[(usize, u8)]) -> Vec<u8> {
    for &(at, byte) in changes {
        let at = at % bytes.len();
        bytes[at] = byte;
    }
    bytes
}

/// Most changes in the header, marks and first batches, where they tell.
fn changes() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let at = prop_oneof![0usize..64, 500..1100usize, 4090..5400usize, any::<u16>().prop_map(usize::from)];
    proptest::collection::vec((at, prop_oneof![Just(0u8), Just(255), any::<u8>()]), 0..12)
}

#[test]
fn what_is_good_is_read() {
    let bytes = segment(1, 0, &[3, 9, 5]);
    assert_eq!(fuzz::decode_segment(&bytes), [None, Some(5)]);
    assert_eq!(fuzz::decode_checkpoint(&checkpoint(b"state")), [None, None], "no segment beside it");
    let (first, second) = (segment(1, 0, &[5]), segment(2, 4608, &[5, 6]));
    assert_eq!(fuzz::decode_chain(&checkpoint(b"state"), &first, &second), [None, Some(3)]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_changed_segment_does_no_harm(sizes in proptest::collection::vec(0usize..700, 0..6), changes in changes()) {
        let _ = fuzz::decode_segment(&changed(segment(1, 0, &sizes), &changes));
    }

    #[test]
    fn a_changed_chain_does_no_harm(
        c in proptest::collection::vec((0usize..100, any::<u8>()), 0..3),
        a in changes(),
        b in changes(),
    ) {
        let (first, second) = (segment(1, 0, &[5]), segment(2, 4608, &[5, 6]));
        let _ = fuzz::decode_chain(&changed(checkpoint(b"state"), &c), &changed(first, &a), &changed(second, &b));
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..6000)) {
        let _ = fuzz::decode_segment(&bytes);
        let _ = fuzz::decode_checkpoint(&bytes);
    }
}
