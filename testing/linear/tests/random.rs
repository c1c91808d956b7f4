//! The checker against a slow one that tries every order, and on histories of a real register.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use portolan_linear::{Answer, Ask, DEFAULT_BOUND, Model, Operation, Recorder, Register, Verdict, check};

type Op = Operation<Ask, Answer>;

/// True when some order of some of the operations explains the history: tries all of them.
fn by_brute_force(state: u64, left: &[Op]) -> bool {
    if left.iter().all(|op| op.returned.is_none()) {
        return true;
    }
    let first_return = left.iter().filter_map(|op| op.returned.map(|(at, _)| at)).min().unwrap();
    (0..left.len()).any(|next| {
        let op = &left[next];
        let (after, answer) = Register.step(&state, &op.ask);
        let allowed = op.returned.is_none_or(|(_, expected)| expected == answer);
        let rest = || [&left[..next], &left[next + 1..]].concat();
        op.called <= first_return && allowed && by_brute_force(after, &rest())
    })
}

fn random_op(rng: &mut fastrand::Rng) -> Op {
    let value = |rng: &mut fastrand::Rng| rng.u64(0..3);
    let (ask, answer) = match rng.u8(0..4) {
        0 => (Ask::Write(value(rng)), Answer::Done),
        1 => (
            Ask::Swap { from: value(rng), to: value(rng) },
            *rng.choice(&[Answer::Done, Answer::Refused]).unwrap(),
        ),
        _ => (Ask::Read, Answer::Value(value(rng))),
    };
    let called = rng.u64(0..12);
    let returned = rng.u8(0..6).ne(&0).then(|| (called + rng.u64(0..6), answer));
    Operation { client: 0, ask, called, returned }
}

#[test]
fn it_agrees_with_trying_everything() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut verdicts = [0, 0];
    for _ in 0..20_000 {
        let history: Vec<Op> = (0..rng.usize(1..8)).map(|_| random_op(&mut rng)).collect();
        let expected = by_brute_force(0, &history);
        let found = check(&Register, &history, DEFAULT_BOUND);
        assert_eq!(found == Verdict::Linearizable, expected, "{history:#?}");
        verdicts[usize::from(expected)] += 1;
    }
    assert!(verdicts.iter().all(|count| *count > 1_000), "{verdicts:?}: one-sided histories test little");
}

/// What threads did to one atomic number, every written value its own. Some outcomes are forgotten.
fn of_a_real_register(seed: u64) -> Vec<Op> {
    let recorder = Recorder::default();
    let register = AtomicU64::new(0);
    let values = AtomicU64::new(1);
    let client = |number: usize| {
        let mut rng = fastrand::Rng::with_seed(seed * 100 + number as u64);
        for _ in 0..60 {
            let fresh = values.fetch_add(1, Ordering::SeqCst);
            let ask = match rng.u8(0..4) {
                0 => Ask::Write(fresh),
                1 => Ask::Swap { from: register.load(Ordering::SeqCst), to: fresh },
                _ => Ask::Read,
            };
            let pending = recorder.call(number, (), ask);
            let answer = on(&register, ask);
            if rng.u8(0..12) > 0 {
                pending.returned(answer);
            }
            if rng.bool() {
                thread::yield_now();
            }
        }
    };
    thread::scope(|scope| {
        for number in 0..4 {
            scope.spawn(move || client(number));
        }
    });
    recorder.take().into_iter().map(|((), operation)| operation).collect()
}

fn on(register: &AtomicU64, ask: Ask) -> Answer {
    match ask {
        Ask::Read => Answer::Value(register.load(Ordering::SeqCst)),
        Ask::Write(value) => {
            register.store(value, Ordering::SeqCst);
            Answer::Done
        }
        Ask::Swap { from, to } => {
            match register.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => Answer::Done,
                Err(_) => Answer::Refused,
            }
        }
        Ask::Delete => {
            register.store(0, Ordering::SeqCst);
            Answer::Done
        }
    }
}

#[test]
fn histories_of_a_real_register_pass_and_their_mutants_do_not() {
    for seed in 0..20 {
        let history = of_a_real_register(seed);
        assert_eq!(check(&Register, &history, DEFAULT_BOUND), Verdict::Linearizable, "seed {seed}");
        for mutant in [stale(&history), invented(&history), twice(&history)].into_iter().flatten() {
            let verdict = check(&Register, &mutant, DEFAULT_BOUND);
            assert!(matches!(verdict, Verdict::Violation(_)), "seed {seed}: {verdict:?}");
        }
    }
}

/// The last read sees the first value that anybody read, long overwritten.
fn stale(history: &[Op]) -> Option<Vec<Op>> {
    let is_read = |op: &&Op| matches!(op.returned, Some((_, Answer::Value(1..))));
    let (_, first) = history.iter().find(is_read)?.returned?;
    let last = history
        .iter()
        .rposition(|op| is_read(&op) && op.returned.is_some_and(|(_, value)| value != first))?;
    let mut mutant = history.to_vec();
    // Called after everything else returned, so that nothing overlaps with it.
    let end = history.iter().filter_map(|op| op.returned.map(|(at, _)| at)).max()?;
    mutant[last] = Operation { called: end + 1, returned: Some((end + 2, first)), ..mutant[last].clone() };
    // It was really overwritten, by somebody who was answered, after it was read.
    let read_at = history.iter().find(is_read)?.returned?.0;
    let overwritten =
        |op: &Op| op.called > read_at && matches!((op.ask, op.returned), (Ask::Write(_), Some(_)));
    history.iter().any(overwritten).then_some(mutant)
}

/// A read sees what nobody wrote.
fn invented(history: &[Op]) -> Option<Vec<Op>> {
    let mut mutant = history.to_vec();
    let read = mutant.iter_mut().find(|op| matches!(op.returned, Some((_, Answer::Value(_)))))?;
    read.returned = read.returned.map(|(at, _)| (at, Answer::Value(u64::MAX)));
    Some(mutant)
}

/// A swap that succeeded succeeds once more, for somebody else, after all is over.
fn twice(history: &[Op]) -> Option<Vec<Op>> {
    let done =
        |op: &&Op| matches!((op.ask, op.returned), (Ask::Swap { from: 1.., .. }, Some((_, Answer::Done))));
    let swap = history.iter().find(done)?;
    let Ask::Swap { from, .. } = swap.ask else { return None };
    let end = history.iter().filter_map(|op| op.returned.map(|(at, _)| at)).max()?;
    let again = Operation {
        client: 9,
        ask: Ask::Swap { from, to: u64::MAX },
        called: end + 1,
        returned: Some((end + 2, Answer::Done)),
    };
    Some(history.iter().cloned().chain([again]).collect())
}
