//! Sweeping a million leases. In the daemon this happens once a second beside everything else, so it is
//! measured where nothing is beside it: by the crate's own example.

use anyhow::{Context as _, Result, ensure};

use super::value;
use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::harness::rounds::interleave;
use crate::report::{Goal, Row, Section};

const LEASES: u64 = 1_000_000;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let leases = context.size(LEASES, 10_000);
    let cargo = || {
        let mut command = cores.server(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["run", "--quiet", "--locked", "--profile", "fast", "--package", "portolan-lease"]);
        command.args(["--example", "sweep", "--", &leases.to_string()]);
        command
    };
    let mut figures: [Figure; 3] = Default::default();
    interleave(context, &["portolan-lease"], |_, _| {
        let output = cargo().output().context("run the example of crates/lease")?;
        ensure!(output.status.success(), "the example failed: {}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        for (figure, name) in figures.iter_mut().zip(["lease.sweep", "lease.renew", "lease.follow_all"]) {
            figure.push(value(&said, name)?);
        }
        Ok(())
    })?;
    let [sweep, renew, follow] = figures;
    Ok(Section {
        group: "leases",
        title: "Leases",
        how: format!(
            "{leases} leases in one process, by the example `sweep` of `crates/lease`: nothing else runs there. \
             The daemon sweeps once a second."
        ),
        rows: vec![
            Row::new(format!("one sweep of {leases} leases"), "ms", sweep).goal(Goal::Below(5.0)),
            Row::new("one renewal", "ns", renew),
            Row::new("taking all of them up after a start", "ms", follow),
        ],
        facts: vec![],
    })
}
