//! What is said of the figures, and where: one section of `docs/benchmarks.md` for each group.

mod document;
mod notes;
pub(crate) mod plot;
mod table;

use crate::harness::figure::Figure;

pub(crate) use document::{show, write};

/// One group's results.
pub(crate) struct Section {
    pub(crate) group: &'static str,
    pub(crate) title: &'static str,
    /// How it was measured, in a paragraph.
    pub(crate) how: String,
    pub(crate) rows: Vec<Row>,
    /// Figures that nothing is held against: the disk's own, versions.
    pub(crate) facts: Vec<String>,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) what: String,
    pub(crate) unit: &'static str,
    pub(crate) ours: Figure,
    /// The same of a peer.
    pub(crate) peer: Option<(&'static str, Figure)>,
    pub(crate) goals: Vec<Goal>,
}

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Goal {
    AtLeast(f64),
    Below(f64),
    /// Ours over the peer's.
    RatioAtLeast(f64),
    /// Ours over the peer's.
    RatioAtMost(f64),
}

impl Row {
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, ours: Figure) -> Self {
        Row { what: what.into(), unit, ours, peer: None, goals: Vec::new() }
    }

    pub(crate) fn beside(mut self, name: &'static str, figure: Figure) -> Self {
        self.peer = Some((name, figure));
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Self {
        self.goals.push(goal);
        self
    }

    fn ratio(&self) -> Option<f64> {
        let (_, peer) = self.peer.as_ref()?;
        (peer.median() > 0.0).then(|| self.ours.median() / peer.median())
    }

    /// None when there is no goal.
    pub(crate) fn holds(&self) -> Option<bool> {
        let median = self.ours.median();
        let holds = |goal: &Goal| match goal {
            Goal::AtLeast(least) => median >= *least,
            Goal::Below(most) => median < *most,
            Goal::RatioAtLeast(least) => self.ratio().is_some_and(|ratio| ratio >= *least),
            Goal::RatioAtMost(most) => self.ratio().is_some_and(|ratio| ratio <= *most),
        };
        (!self.goals.is_empty()).then(|| self.goals.iter().all(holds))
    }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Goal, Row};

    #[test]
    fn a_row_holds_when_all_its_goals_do() {
        let row = |goal| Row::new("x", "/s", Figure::from_iter([10.0])).goal(goal);
        assert_eq!(row(Goal::AtLeast(10.0)).holds(), Some(true));
        assert_eq!(row(Goal::Below(10.0)).holds(), Some(false));
        assert_eq!(row(Goal::RatioAtLeast(2.0)).holds(), Some(false), "no peer, no ratio");
        let beside =
            row(Goal::AtLeast(1.0)).goal(Goal::RatioAtLeast(2.0)).beside("p", Figure::from_iter([5.0]));
        assert_eq!(beside.holds(), Some(true));
        assert_eq!(Row::new("x", "", Figure::default()).holds(), None);
    }
}
