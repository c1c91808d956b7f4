//! Judging one connection by thousands of rules, by an example of the broker.

use anyhow::{Context as _, Result, ensure};

use crate::groups::value;
use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::report::{Goal, Row};

const RULES: usize = 10_000;

pub(super) fn rows(context: &Context, cores: &Cores) -> Result<Vec<Row>> {
    let names = ["route.judge.mixed", "route.judge.last"];
    let mut figures: [Figure; 2] = Default::default();
    interleave(context, &["rules"], |_, _| {
        let mut command = cores.server(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["run", "--quiet", "--locked", "--profile", "fast", "--package", "portolan-broker"]);
        command.args(["--example", "judge", "--", &RULES.to_string()]);
        let output = command.output().context("run the example of crates/broker")?;
        ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        for (figure, name) in figures.iter_mut().zip(names) {
            figure.push(value(&said, name)?);
        }
        Ok(())
    })?;
    let [mixed, last] = figures;
    let row = |what: &str, figure| {
        Row::new(format!("one of {RULES} rules decides: {what}"), "ns", figure).goal(Goal::Below(1000.0))
    };
    Ok(vec![row("callers of all kinds", mixed), row("none but the last", last)])
}
