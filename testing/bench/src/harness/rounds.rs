//! Contestants take turns inside each round, so that a disturbance of the machine meets all of them.

use anyhow::Result;

use super::Context;

/// Runs `one` for every contestant in every round, changing who begins, and says what is going on.
pub(crate) fn interleave<C: std::fmt::Display>(
    context: &Context,
    contestants: &[C],
    mut one: impl FnMut(usize, &C) -> Result<()>,
) -> Result<()> {
    for round in 0..context.rounds {
        for turn in 0..contestants.len() {
            let at = (turn + round) % contestants.len();
            eprintln!("  round {}/{}: {}", round + 1, context.rounds, contestants[at]);
            one(at, &contestants[at])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Context, interleave};
    use crate::harness::cores::Awake;

    #[test]
    fn everybody_begins_once_in_a_while() {
        let context = Context {
            portolan: "".into(),
            scratch: "".into(),
            rounds: 3,
            quick: true,
            awake: Awake::missing(),
        };
        let mut order = String::new();
        interleave(&context, &["a", "b"], |_, name| {
            order.push_str(name);
            Ok(())
        })
        .unwrap();
        assert_eq!(order, "abbaab");
    }
}
