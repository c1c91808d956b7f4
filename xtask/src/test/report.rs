//! Reads the test harness's output line by line and adds it up.

use std::collections::BTreeSet;
use std::fmt;

/// How a skipped test's line begins.
const SKIPPED: &str = "skipped: ";

/// Sums over every test binary, and what to say of skipped tests.
#[derive(Debug, Default)]
pub(crate) struct Report {
    passed: usize,
    failed: usize,
    ignored: usize,
    skipped: usize,
    /// Tests that passed only because they skipped; the harness counts them as passed.
    skipped_tests: BTreeSet<String>,
    reasons: Vec<String>,
    /// Tests that failed among the others and passed by themselves.
    unsteady: BTreeSet<String>,
    section: Section,
    binary: usize,
}

/// Where in one binary's output we are.
#[derive(Debug, Default, PartialEq, Eq)]
enum Section {
    /// The list of tests as they end, and failures with what they printed.
    #[default]
    Open,
    /// What passing tests printed; shown to nobody but searched for skips. The test's name, once known.
    Successes(Option<String>),
}

impl Report {
    /// Takes in one line; says whether a reader should see it.
    pub(crate) fn line(&mut self, line: &str) -> bool {
        if let Some(reason) = line.strip_prefix(SKIPPED) {
            self.skip(reason);
        }
        if line == "successes:" {
            self.section = Section::Successes(None);
            return false;
        }
        if line == "failures:" || line.starts_with("test result: ") {
            self.section = Section::Open;
        }
        if line.starts_with("test result: ") {
            self.binary += 1;
            self.add(line);
        }
        match &mut self.section {
            Section::Open => is_worth_showing(line),
            Section::Successes(name) => {
                if let Some(test) =
                    line.strip_prefix("---- ").and_then(|rest| rest.strip_suffix(" stdout ----"))
                {
                    *name = Some(test.to_owned());
                }
                false
            }
        }
    }

    fn skip(&mut self, reason: &str) {
        self.skipped += 1;
        match &self.section {
            Section::Successes(Some(test)) => {
                self.skipped_tests.insert(format!("{} {test}", self.binary));
                self.reasons.push(format!("{test}: {reason}"));
            }
            _ => self.reasons.push(reason.to_owned()),
        }
    }

    /// `test result: ok. 3 passed; 0 failed; 1 ignored; …`
    fn add(&mut self, line: &str) {
        let after = line.split_once(". ").map_or(line, |(_, after)| after);
        for part in after.split("; ") {
            let mut words = part.split(' ');
            let (Some(Ok(count)), Some(what)) = (words.next().map(str::parse::<usize>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += count,
                "failed" => self.failed += count,
                "ignored" => self.ignored += count,
                _ => {}
            }
        }
    }

    /// These failed once and then passed by themselves.
    pub(crate) fn unsteady(&mut self, tests: &BTreeSet<String>) {
        self.failed = self.failed.saturating_sub(tests.len());
        self.passed += tests.len();
        self.unsteady.extend(tests.iter().cloned());
    }

    pub(crate) fn is_green(&self) -> bool {
        self.failed == 0
    }

    /// One line for each skip, with the test's name where it is known, and for each unsteady test.
    pub(crate) fn remarks(&self) -> String {
        let skips = self.reasons.iter().map(|reason| format!("not run: {reason}\n"));
        skips.chain(self.unsteady.iter().map(|test| format!("unsteady: {test}\n"))).collect()
    }
}

/// Failures, and one line for each binary that had tests.
fn is_worth_showing(line: &str) -> bool {
    let passed = line.starts_with("test ") && line.ends_with(" ... ok");
    let nothing =
        line == "running 0 tests" || line.starts_with("test result: ok. 0 passed; 0 failed; 0 ignored");
    !(passed || nothing || line.is_empty())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let passed = self.passed.saturating_sub(self.skipped_tests.len());
        write!(f, "{passed} passed, {} failed, {} skipped", self.failed, self.skipped + self.ignored)?;
        match self.unsteady.len() {
            0 => Ok(()),
            count => write!(f, ", {count} of the passed unsteady"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Report;

    const OUTPUT: &str = "
running 4 tests
test a ... ok
test b ... ok
test c ... FAILED
test d ... ignored

successes:

---- a stdout ----
skipped: dig is not here
chatter

successes:
    a
    b

failures:

---- c stdout ----
it broke

failures:
    c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn a_skip_is_not_a_pass() {
        let mut report = Report::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| report.line(line)).collect();
        assert_eq!(report.to_string(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(report.remarks(), "not run: a: dig is not here\n");
        assert!(shown.contains(&"it broke") && shown.contains(&"test c ... FAILED"));
        assert!(!shown.contains(&"chatter") && !shown.contains(&"test a ... ok"));
        assert!(!report.is_green());
        report.unsteady(&["c".to_owned()].into());
        assert_eq!(report.to_string(), "2 passed, 0 failed, 2 skipped, 1 of the passed unsteady");
        assert!(report.is_green() && report.remarks().ends_with("unsteady: c\n"));
    }

    #[test]
    fn binaries_add_up() {
        let mut report = Report::default();
        for line in [
            "test result: ok. 3 passed; 0 failed; 0 ignored",
            "test result: ok. 4 passed; 0 failed; 0 ignored",
        ] {
            report.line(line);
        }
        assert_eq!(report.to_string(), "7 passed, 0 failed, 0 skipped");
        assert!(report.is_green());
    }
}
