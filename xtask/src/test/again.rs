//! A failed test is run once more, by itself.
//!
//! Tests with real daemons on a loaded machine fail now and then for want of processor time. Hiding that would be a lie
//! and stopping for it a waste: whatever passes alone is *unsteady*, is named as such in the last lines, and
//! more than [`MOST`] of them fail the run all the same.

use std::collections::BTreeSet;

/// As many unsteady tests as one run may have.
pub(crate) const MOST: usize = 3;

/// What a first run says of its failures.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    /// Arguments of cargo that choose one test binary, as cargo prints them: `-p portolan-dns --test laws`.
    pub targets: Vec<Vec<String>>,
    /// Names of the tests that failed, in whichever binary.
    pub tests: BTreeSet<String>,
}

impl Failures {
    /// Takes in a line of cargo's standard error, where the failed targets are listed at the end.
    pub(crate) fn error_line(&mut self, line: &str) {
        let target = line.trim().strip_prefix('`').and_then(|rest| rest.strip_suffix('`'));
        if let Some(target) = target.filter(|target| target.starts_with("-p ")) {
            self.targets.push(target.split(' ').map(str::to_owned).collect());
        }
    }

    /// Takes in a line of the tests' standard output.
    pub(crate) fn line(&mut self, line: &str) {
        let name = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED"));
        if let Some(name) = name {
            // A test that should panic is shown with that remark behind its name.
            self.tests.insert(name.split(" - ").next().unwrap_or(name).to_owned());
        }
    }

    /// Whether running them again can tell anything: few enough, and each failed binary named its tests.
    pub(crate) fn worth_another(&self) -> bool {
        !self.targets.is_empty() && (1..=MOST).contains(&self.tests.len())
    }
}

#[cfg(test)]
mod tests {
    use super::Failures;

    #[test]
    fn targets_and_names_are_found_in_what_cargo_prints() {
        let mut failures = Failures::default();
        for line in
            ["error: 2 targets failed:", "    `-p portolan-px --test aioquic`", "    `-p portolan-dns --lib`"]
        {
            failures.error_line(line);
        }
        for line in [
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test d - should panic ... FAILED",
            "running 3 tests",
        ] {
            failures.line(line);
        }
        assert_eq!(
            failures.targets,
            [vec!["-p", "portolan-px", "--test", "aioquic"], vec!["-p", "portolan-dns", "--lib"]]
        );
        assert_eq!(failures.tests.iter().collect::<Vec<_>>(), ["a::c", "d"]);
        assert!(failures.worth_another());
    }

    #[test]
    fn many_failures_are_no_accident() {
        let mut failures = Failures::default();
        failures.error_line("    `-p portolan-px --test aioquic`");
        assert!(!failures.worth_another(), "a binary that died names no test");
        for number in 0..4 {
            failures.line(&format!("test number_{number} ... FAILED"));
        }
        assert!(!failures.worth_another());
    }
}
