//! Histories by hand: those that must pass and those that must not.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

use portolan_linear::{Answer, Ask, DEFAULT_BOUND, Operation, Register, Verdict, check, check_keys};

type Op = Operation<Ask, Answer>;

/// `from..to` and what was read.
fn read(client: usize, from: u64, to: u64, value: u64) -> Op {
    answered(client, from, to, Ask::Read, Answer::Value(value))
}

fn write(client: usize, from: u64, to: u64, value: u64) -> Op {
    answered(client, from, to, Ask::Write(value), Answer::Done)
}

fn swap(client: usize, from: u64, to: u64, values: (u64, u64), done: bool) -> Op {
    let answer = if done { Answer::Done } else { Answer::Refused };
    answered(client, from, to, Ask::Swap { from: values.0, to: values.1 }, answer)
}

fn answered(client: usize, called: u64, to: u64, ask: Ask, answer: Answer) -> Op {
    Operation { client, ask, called, returned: Some((to, answer)) }
}

fn lost(client: usize, called: u64, ask: Ask) -> Op {
    Operation { client, ask, called, returned: None }
}

fn passes(history: &[Op]) {
    assert_eq!(check(&Register, history, DEFAULT_BOUND), Verdict::Linearizable, "{history:#?}");
}

fn fails(history: &[Op]) -> String {
    match check(&Register, history, DEFAULT_BOUND) {
        Verdict::Violation(text) => text,
        verdict => panic!("{verdict:?} on {history:#?}"),
    }
}

#[test]
fn nothing_and_one_after_the_other() {
    passes(&[]);
    passes(&[read(0, 0, 1, 0), write(0, 2, 3, 7), read(1, 4, 5, 7), swap(1, 6, 7, (7, 8), true)]);
    passes(&[
        write(0, 0, 1, 7),
        answered(0, 2, 3, Ask::Delete, Answer::Done),
        swap(1, 4, 5, (0, 9), true),
        read(0, 6, 7, 9),
    ]);
}

#[test]
fn what_overlaps_may_be_seen_either_way_but_not_back_and_forth() {
    let during =
        |first, second| [write(0, 0, 1, 1), write(0, 2, 20, 2), read(1, 3, 5, first), read(1, 6, 8, second)];
    passes(&during(1, 1));
    passes(&during(1, 2));
    passes(&during(2, 2));
    fails(&during(2, 1));
}

#[test]
fn a_stale_read_is_found() {
    let text = fails(&[write(0, 0, 1, 1), write(0, 2, 3, 2), read(1, 4, 5, 1)]);
    assert!(text.contains("Value(1)") && text.contains("2 of 3"), "{text}");
}

#[test]
fn a_lost_update_is_found() {
    // Acknowledged, and nobody ever sees it.
    fails(&[write(0, 0, 1, 1), write(0, 2, 3, 2), swap(1, 4, 5, (1, 3), true), read(0, 6, 7, 3)]);
    fails(&[write(0, 0, 1, 1), read(1, 2, 3, 0)]);
}

#[test]
fn two_heads_are_found() {
    // Each side of a partition reads its own writes and never the other's.
    fails(&[
        write(0, 0, 1, 1),
        write(1, 2, 3, 2),
        read(0, 4, 5, 1),
        read(1, 4, 5, 2),
        read(0, 6, 7, 1),
        read(1, 6, 7, 2),
    ]);
}

#[test]
fn a_swap_that_succeeds_twice_is_found() {
    let race = |second| [write(0, 0, 1, 1), swap(0, 2, 9, (1, 2), true), swap(1, 2, 9, (1, 3), second)];
    passes(&race(false));
    fails(&race(true));
    // Refused although what it expected was there all the time.
    fails(&[write(0, 0, 1, 1), swap(0, 2, 3, (1, 2), false), read(0, 4, 5, 1)]);
}

#[test]
fn an_unknown_outcome_may_take_effect_late_or_never_but_once() {
    passes(&[write(0, 0, 1, 1), lost(1, 2, Ask::Write(2)), read(0, 10, 11, 1), read(0, 12, 13, 2)]);
    passes(&[write(0, 0, 1, 1), lost(1, 2, Ask::Write(2)), read(0, 10, 11, 1)]);
    // Not before it was called.
    fails(&[write(0, 0, 1, 1), read(0, 2, 3, 2), lost(1, 4, Ask::Write(2))]);
    // Not a second time: a request that is repeated below must not apply twice.
    fails(&[
        lost(1, 0, Ask::Write(2)),
        read(0, 2, 3, 2),
        write(0, 4, 5, 1),
        read(0, 6, 7, 1),
        read(0, 8, 9, 2),
    ]);
    // A read whose answer is lost says nothing.
    passes(&[lost(0, 0, Ask::Read), write(0, 1, 2, 1)]);
}

#[test]
fn a_value_from_nowhere_is_found() {
    fails(&[write(0, 0, 1, 1), read(0, 2, 3, 9)]);
}

#[test]
fn keys_are_judged_apart() {
    let fine = [("a", write(0, 0, 1, 1)), ("b", read(0, 2, 3, 0)), ("a", read(0, 4, 5, 1))];
    assert_eq!(check_keys(&Register, fine.clone(), DEFAULT_BOUND), Ok(2));
    let stale = fine.into_iter().chain([("b", write(0, 4, 5, 2)), ("b", read(0, 6, 7, 0))]);
    assert_eq!(check_keys(&Register, stale, DEFAULT_BOUND).unwrap_err().0, "b");
}

#[test]
fn a_search_that_would_not_end_says_so() {
    // Forty writes of unknown outcome and a read that none of them explains: 2^40 subsets.
    let mut history: Vec<Op> = (1..=40).map(|value| lost(0, 0, Ask::Write(value))).collect();
    history.push(read(1, 1, 2, 99));
    assert!(matches!(check(&Register, &history, 10_000), Verdict::Undecided { visited: 10_001 }));
}
