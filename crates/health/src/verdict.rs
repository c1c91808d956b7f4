//! From results of a probe to the status of its check: thresholds, then flap damping. Pure; time is an
//! argument.

use std::time::Instant;

use catalog::{CheckDef, Status};

use crate::config::Damping;

/// What one run of a probe found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What this run alone says.
    pub status: Status,
    /// What the probe has to tell, at most 4 KiB; the same for the same state of affairs.
    pub output: String,
}

impl Finding {
    /// It works.
    pub fn passing(output: impl Into<String>) -> Finding {
        Finding { status: Status::Passing, output: output.into() }
    }

    /// It works, with a complaint.
    pub fn warning(output: impl Into<String>) -> Finding {
        Finding { status: Status::Warning, output: output.into() }
    }

    /// It does not work.
    pub fn critical(output: impl Into<String>) -> Finding {
        Finding { status: Status::Critical, output: output.into() }
    }
}

/// The run of results of one check.
#[derive(Debug, Clone, Default)]
pub struct Judge {
    successes: u16,
    failures: u16,
    flapping: Flapping,
}

#[derive(Debug, Clone, Default)]
struct Flapping {
    penalty: f64,
    since: Option<Instant>,
    is_held: bool,
}

impl Judge {
    /// The status that the check should have after `finding`, given the one it has. Thresholds first: a
    /// check changes after so many equal results in a row. Then damping, which may hold it critical.
    pub fn judge(
        &mut self,
        def: &CheckDef,
        damping: Option<&Damping>,
        current: Status,
        finding: &mut Finding,
        now: Instant,
    ) -> Status {
        let status = self.count(def, current, finding.status);
        match damping {
            Some(damping) => self.flapping.hold(damping, current, status, finding, now),
            None => status,
        }
    }

    /// True while damping holds the check critical.
    pub fn is_held(&self) -> bool {
        self.flapping.is_held
    }

    fn count(&mut self, def: &CheckDef, current: Status, found: Status) -> Status {
        if found == Status::Critical {
            self.successes = 0;
            self.failures = self.failures.saturating_add(1);
            let warns = def.failures_before_warning > 0 && self.failures >= def.failures_before_warning;
            return match self.failures >= def.failures_before_critical.max(1) {
                true => Status::Critical,
                false if warns => current.max(Status::Warning),
                false => current,
            };
        }
        self.failures = 0;
        self.successes = self.successes.saturating_add(1);
        match self.successes >= def.success_before_passing.max(1) {
            true => found,
            false => current,
        }
    }
}

impl Flapping {
    fn hold(
        &mut self,
        damping: &Damping,
        current: Status,
        wanted: Status,
        finding: &mut Finding,
        now: Instant,
    ) -> Status {
        self.decay(damping, now);
        if wanted == Status::Critical && current != Status::Critical {
            self.penalty = (self.penalty + 1.0).min(damping.ceiling);
        }
        self.is_held = match self.is_held {
            true => self.penalty > damping.reuse,
            false => self.penalty >= damping.suppress,
        };
        if !self.is_held || wanted == Status::Critical {
            return wanted;
        }
        finding.output =
            format!("flapping: held critical until it has been steady for a while\n{}", finding.output);
        Status::Critical
    }

    fn decay(&mut self, damping: &Damping, now: Instant) {
        if let Some(since) = self.since {
            let half_lives = now.saturating_duration_since(since).as_secs_f64()
                / damping.half_life.as_secs_f64().max(f64::MIN_POSITIVE);
            self.penalty *= 0.5f64.powf(half_lives);
        }
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::Probe;
    use std::time::Duration;

    fn def(success: u16, warning: u16, critical: u16) -> CheckDef {
        CheckDef {
            id: "c".into(),
            name: "c".into(),
            notes: "".into(),
            service_id: "".into(),
            probe: Probe::External,
            deregister_after_ms: None,
            success_before_passing: success,
            failures_before_warning: warning,
            failures_before_critical: critical,
            definition: None,
        }
    }

    /// Feeds results ('+', 'w', '-') to a check that starts critical; returns the statuses it has (P, W, C).
    fn history(def: &CheckDef, damping: Option<&Damping>, results: &str) -> String {
        let (mut judge, mut current, start) = (Judge::default(), Status::Critical, Instant::now());
        let mut statuses = String::new();
        for (second, result) in results.chars().enumerate() {
            let mut finding = match result {
                '+' => Finding::passing("ok"),
                'w' => Finding::warning("hm"),
                _ => Finding::critical("no"),
            };
            let now = start + Duration::from_secs(second as u64);
            current = judge.judge(def, damping, current, &mut finding, now);
            statuses.push(match current {
                Status::Passing => 'P',
                Status::Warning => 'W',
                Status::Critical => 'C',
            });
        }
        statuses
    }

    #[test]
    fn without_thresholds_every_result_counts() {
        assert_eq!(history(&def(0, 0, 0), None, "+-w+--+"), "PCWPCCP");
        assert_eq!(history(&def(1, 1, 1), None, "+-w+--+"), "PCWPCCP");
    }

    #[test]
    fn thresholds_count_results_in_a_row() {
        assert_eq!(history(&def(2, 0, 3), None, "++-+--+---++"), "CPPPPPPPPCCP");
    }

    #[test]
    fn failures_may_warn_before_they_are_critical() {
        assert_eq!(history(&def(1, 1, 3), None, "+---+"), "PWWCP");
        assert_eq!(history(&def(1, 2, 3), None, "+---"), "PPWC");
        assert_eq!(history(&def(3, 1, 2), None, "+-+-"), "CCCC", "a warning is no way out of critical");
    }

    #[test]
    fn a_flapping_check_is_held_critical_and_let_go() {
        let damping = Damping { half_life: Duration::from_secs(10), ..Damping::default() };
        let flapping = "+-+-+-+-";
        let statuses = history(&def(1, 0, 1), Some(&damping), &format!("{flapping}{}", "+".repeat(40)));
        assert!(statuses.starts_with("PCPCPCPC"), "{statuses}");
        let (held, free) = statuses[8..].split_at(statuses[8..].find('P').unwrap());
        assert!(held.len() > 5 && !free.contains('C'), "{statuses}");
    }

    #[test]
    fn a_held_check_says_so() {
        let damping = Damping { suppress: 1.0, reuse: 0.5, ..Damping::default() };
        let mut judge = Judge::default();
        let now = Instant::now();
        let def = def(1, 0, 1);
        judge.judge(&def, Some(&damping), Status::Passing, &mut Finding::critical("no"), now);
        let mut finding = Finding::passing("ok");
        assert_eq!(judge.judge(&def, Some(&damping), Status::Critical, &mut finding, now), Status::Critical);
        assert!(finding.output.contains("flapping") && finding.output.ends_with("ok"), "{}", finding.output);
        assert!(judge.is_held());
    }
}
