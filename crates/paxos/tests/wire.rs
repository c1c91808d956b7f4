//! Bytes of frames and batches: what is written is read, and nothing that is read can do harm.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use bytes::Bytes;
use portolan_paxos::{Batch, Command, Configuration, Disk, Driver, Frame, Identity, ServerId, Setup, wire};
use proptest::prelude::*;

/// Takes the batches of a driver that does a few things.
struct Recorder(Vec<Batch>);

impl Disk for Recorder {
    type Error = std::convert::Infallible;

    fn persist(&mut self, batch: &Batch) -> Result<(), Self::Error> {
        self.0.push(batch.clone());
        Ok(())
    }
}

fn batches(commands: &[Vec<u8>]) -> Vec<Batch> {
    let me = Identity { server: ServerId(3), disk: 4 };
    let mut driver = Driver::found(me, vec![me], 0, Setup::default(), 0).unwrap();
    let mut recorder = Recorder(Vec::new());
    for command in commands {
        driver.handle_propose(Bytes::copy_from_slice(command)).unwrap();
        while let Some(turn) = driver.poll_turn() {
            let Ok(persisted) = turn.persist(&mut recorder);
            driver.handle_persisted(persisted);
        }
    }
    recorder.0
}

proptest! {
    #[test]
    fn batches_survive_the_disk(commands in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8)) {
        for batch in batches(&commands) {
            let bytes = batch.encode().unwrap();
            prop_assert_eq!(Batch::decode(&bytes).unwrap(), batch);
            prop_assert!(Batch::decode(&bytes[..bytes.len() - 1]).is_err());
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert!(Batch::decode(&longer).is_err());
        }
    }

    #[test]
    fn frames_survive_the_wire(at in 1..1_000_u64, sizes in prop::collection::vec(0..200_usize, 0..20)) {
        let entries: Vec<Command> = sizes.iter().map(|size| Command(Bytes::from(vec![7; *size]))).collect();
        let frame = Frame::Entries { id: 5, at, entries: entries.clone() };
        match Frame::decode(&frame.encode().unwrap()).unwrap() {
            Frame::Entries { id: 5, at: read_at, entries: read } => {
                prop_assert_eq!(read_at, at);
                prop_assert_eq!(read, entries);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        wire::fuzz_frame(&bytes);
        wire::fuzz_batch(&bytes);
    }

    #[test]
    fn damaged_bytes_are_read_without_harm(at in 0..4_096_usize, with in any::<u8>()) {
        for batch in batches(&[vec![1; 20], vec![2; 30]]) {
            let mut bytes = batch.encode().unwrap();
            let at = at % bytes.len();
            bytes[at] = with;
            wire::fuzz_batch(&bytes);
        }
    }
}

#[test]
fn a_length_that_lies_allocates_nothing() {
    // An array of 2^32-1 entries, and nothing after it.
    let mut bytes = Frame::Forward { hops: 0, commands: vec![] }.encode().unwrap();
    bytes.pop();
    bytes.extend([0xdd, 0xff, 0xff, 0xff, 0xff]);
    assert!(Frame::decode(&bytes).is_err());
}

#[test]
fn a_configuration_is_a_set() {
    let member = |server, disk| Identity { server: ServerId(server), disk };
    let configuration = Configuration::new(1, vec![member(5, 1), member(2, 1), member(5, 1)], 0);
    assert_eq!(configuration.members(), [member(2, 1), member(5, 1)]);
    assert_eq!((configuration.majority(), configuration.disk_of(ServerId(5))), (2, Some(1)));
}
