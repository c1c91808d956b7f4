//! One driver by itself: what a host sees of it. Several together are the simulator's business.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::convert::Infallible;

use bytes::Bytes;
use paxos::{
    Batch, Command, Disk, Driver, Effect, Frame, Hello, Identity, Image, Index, OpenError, ReadId, Refusal,
    Refused, ServerId, Session, Setup, Unfit,
};
use portolan_paxos as paxos;

const ME: Identity = Identity { server: ServerId(40), disk: 1 };
const PEER: Identity = Identity { server: ServerId(7), disk: 2 };

/// Keeps everything.
#[derive(Default)]
struct Kept(Image);

impl Disk for Kept {
    type Error = Infallible;

    fn persist(&mut self, batch: &Batch) -> Result<(), Infallible> {
        // As a real disk would: through bytes.
        self.0.apply(&Batch::decode(&batch.encode().unwrap()).unwrap());
        Ok(())
    }
}

/// Fails.
struct Broken;

impl Disk for Broken {
    type Error = &'static str;

    fn persist(&mut self, _batch: &Batch) -> Result<(), &'static str> {
        Err("no space left")
    }
}

fn run(driver: &mut Driver, disk: &mut Kept) -> Vec<Effect> {
    let mut effects = Vec::new();
    while let Some(turn) = driver.poll_turn() {
        let Ok(persisted) = turn.persist(disk);
        effects.extend(driver.handle_persisted(persisted));
    }
    effects
}

fn decided(effects: &[Effect]) -> Vec<(Index, Command)> {
    let mut all = Vec::new();
    for effect in effects {
        if let Effect::Decided { at, commands } = effect {
            all.extend((*at..).zip(commands.iter().cloned()));
        }
    }
    all
}

fn alone() -> Driver {
    Driver::found(ME, vec![ME], 0, Setup::default(), 0).unwrap()
}

#[test]
fn alone_it_decides_what_is_durable() {
    let (mut driver, mut disk) = (alone(), Kept::default());
    run(&mut driver, &mut disk);
    driver.handle_propose(Bytes::from_static(b"a")).unwrap();
    driver.handle_propose(Bytes::from_static(b"b")).unwrap();
    let effects = run(&mut driver, &mut disk);
    let (a, b) = (Command(Bytes::from_static(b"a")), Command(Bytes::from_static(b"b")));
    assert_eq!(decided(&effects), [(1, a), (2, b)]);
}

#[test]
fn nothing_is_decided_before_the_disk_says_so() {
    let mut driver = alone();
    driver.handle_propose(Bytes::from_static(b"a")).unwrap();
    let turn = driver.poll_turn().unwrap();
    assert!(turn.batch().needs_sync());
    assert!(driver.poll_turn().is_none(), "one turn at a time");
    assert_eq!(turn.persist(&mut Broken).unwrap_err(), "no space left");
    assert!(driver.poll_turn().is_none(), "a server whose disk failed does nothing more");
}

#[test]
fn a_restart_hands_over_everything_again() {
    let (mut driver, mut disk) = (alone(), Kept::default());
    for byte in 0..10_u8 {
        driver.handle_propose(Bytes::copy_from_slice(&[byte])).unwrap();
        run(&mut driver, &mut disk);
    }
    driver.handle_checkpoint(6);
    run(&mut driver, &mut disk);
    let mut again = Driver::open(disk.0.clone(), Setup::default(), 0).unwrap();
    let effects = run(&mut again, &mut disk);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Restore(6))));
    let indexes: Vec<Index> = decided(&effects).into_iter().map(|(index, _)| index).collect();
    assert_eq!(indexes, [7, 8, 9, 10]);
}

#[test]
fn a_disk_without_identity_is_not_opened() {
    assert!(matches!(Driver::open(Image::default(), Setup::default(), 0), Err(OpenError::Blank)));
}

#[test]
fn it_takes_over_indexes_from_another_engine() {
    let mut disk = Kept::default();
    let mut driver = Driver::found(ME, vec![ME], 1_000, Setup::default(), 0).unwrap();
    let effects = run(&mut driver, &mut disk);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Restore(1_000))));
    driver.handle_propose(Bytes::from_static(b"next")).unwrap();
    assert_eq!(decided(&run(&mut driver, &mut disk))[0].0, 1_001);
}

#[test]
fn a_read_alone_waits_for_what_was_proposed_before() {
    let (mut driver, mut disk) = (alone(), Kept::default());
    driver.handle_propose(Bytes::from_static(b"a")).unwrap();
    driver.handle_read(ReadId(9)).unwrap();
    let effects = run(&mut driver, &mut disk);
    let ready = effects.iter().position(|effect| matches!(effect, Effect::ReadReady { index: 1, .. }));
    let handed = effects.iter().position(|effect| matches!(effect, Effect::Decided { .. }));
    assert!(handed < ready, "{effects:?}");
}

#[test]
fn without_a_leader_it_refuses() {
    let mut driver = Driver::found(ME, vec![ME, PEER], 0, Setup::default(), 0).unwrap();
    assert_eq!(driver.handle_propose(Bytes::new()), Err(Refused::NoLeader));
    assert_eq!(driver.handle_reconfigure(vec![ME.server]), Err(Unfit::NotLeader(None)));
    let mut joiner = Driver::join(ME, Setup::default(), 0).unwrap();
    assert_eq!(joiner.handle_propose(Bytes::new()), Err(Refused::NoLeader));
}

#[test]
fn more_than_may_wait_is_refused() {
    let setup = Setup { undecided_bytes: 100, ..Setup::default() };
    let mut driver = Driver::found(ME, vec![ME], 0, setup, 0).unwrap();
    driver.handle_propose(Bytes::from(vec![0; 80])).unwrap();
    assert!(matches!(driver.handle_propose(Bytes::from(vec![0; 80])), Err(Refused::Full { .. })));
    run(&mut driver, &mut Kept::default());
    driver.handle_propose(Bytes::from(vec![0; 80])).unwrap();
}

#[test]
fn members_are_judged_before_they_are_proposed() {
    let (mut driver, mut disk) = (alone(), Kept::default());
    run(&mut driver, &mut disk);
    assert_eq!(driver.handle_reconfigure(vec![]), Err(Unfit::Members(0)));
    assert_eq!(driver.handle_reconfigure(vec![ME.server]), Err(Unfit::Members(1)));
    let both = vec![ME.server, PEER.server];
    assert_eq!(driver.handle_reconfigure(both.clone()), Err(Unfit::NotReady(PEER.server)));

    driver.handle_link_up(PEER.server, Session(1));
    let hello = Hello { version: paxos::WIRE_VERSION, disk: PEER.disk, configuration: None };
    driver.handle_frame(PEER.server, Session(1), Frame::Hello(hello));
    run(&mut driver, &mut disk);
    driver.handle_reconfigure(both).unwrap();
    let effects = run(&mut driver, &mut disk);
    let next = effects.iter().find_map(|effect| match effect {
        Effect::Configured(next) => Some(next.clone()),
        _ => None,
    });
    let next = next.unwrap();
    assert_eq!((next.id, next.members()), (2, &[PEER, ME][..]));
}

#[test]
fn a_member_with_another_disk_is_refused() {
    let (mut driver, mut disk) =
        (Driver::found(ME, vec![ME, PEER], 0, Setup::default(), 0).unwrap(), Kept::default());
    driver.handle_link_up(PEER.server, Session(1));
    let hello = Hello { version: paxos::WIRE_VERSION, disk: PEER.disk + 1, configuration: None };
    driver.handle_frame(PEER.server, Session(1), Frame::Hello(hello));
    let effects = run(&mut driver, &mut disk);
    let refused = |effect: &Effect| matches!(effect, Effect::Refused { why: Refusal::OtherDisk, .. });
    assert!(effects.iter().any(refused));
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Reset { .. })));
}

#[test]
fn frames_of_an_old_session_are_not_heard() {
    let mut disk = Kept::default();
    let mut driver = Driver::found(ME, vec![ME, PEER], 0, Setup::default(), 0).unwrap();
    driver.handle_link_up(PEER.server, Session(1));
    driver.handle_link_up(PEER.server, Session(2));
    let hello = Hello { version: paxos::WIRE_VERSION, disk: PEER.disk, configuration: None };
    driver.handle_frame(PEER.server, Session(1), Frame::Hello(hello.clone()));
    run(&mut driver, &mut disk);
    assert!(driver.status().peers.is_empty());
    driver.handle_frame(PEER.server, Session(2), Frame::Hello(hello));
    assert_eq!(driver.status().peers, [(PEER.server, 0)]);
    driver.handle_link_down(PEER.server, Session(1));
    assert_eq!(driver.status().peers, [(PEER.server, 0)]);
    driver.handle_link_down(PEER.server, Session(2));
    assert!(driver.status().peers.is_empty());
}

#[test]
fn it_can_be_given_to_a_thread() {
    fn sendable<T: Send>(_: &T) {}
    sendable(&alone());
}
