//! What a newcomer waits for: a clean debug build with every test compiled, and what it is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::harness::Context;
use crate::harness::cores::Cores;
use crate::harness::figure::Figure;
use crate::report::{Goal, Row, Section};

/// How many of the slowest crates are named.
const HEAVY: usize = 12;

pub(super) fn run(context: &Context, cores: &Cores) -> Result<Section> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let target = tempfile::tempdir_in(&context.scratch).context("make a target folder")?;
    // Fetch first: the network is not what is measured.
    cargo(cores, root, &["fetch", "--locked"], target.path())?;
    let build: &[&str] = match context.quick {
        true => &["check", "--locked", "--package", "portolan-state", "--timings"],
        false => &["test", "--workspace", "--locked", "--no-run", "--timings"],
    };
    let begin = Instant::now();
    cargo(cores, root, build, target.path())?;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    let timings = target.path().join("cargo-timings/cargo-timing.html");
    let timings = std::fs::read_to_string(&timings).with_context(|| format!("read {}", timings.display()))?;
    let units = units(&timings)?;
    let crates: BTreeSet<(&str, &str)> =
        units.iter().map(|unit| (unit.name.as_str(), unit.version.as_str())).collect();
    let ours = crates.iter().filter(|(name, _)| is_ours(name)).count();
    Ok(Section {
        group: "tree",
        title: "A clean build",
        how: "`cargo test --workspace --no-run` into an empty target folder, on all processors, once; crates are \
              fetched before. Seconds of a crate are those of all its units: library, build script, tests."
            .to_owned(),
        rows: vec![
            Row::new("a clean debug build, all tests compiled", "min", Figure::from_iter([minutes]))
                .goal(Goal::Below(15.0)),
            Row::new("crates of others", "", Figure::from_iter([(crates.len() - ours) as f64])),
            Row::new("crates of our own", "", Figure::from_iter([ours as f64])),
        ],
        facts: heavy(&units, &reasons(root)?),
    })
}

/// On every processor, whatever this process was kept to.
fn cargo(cores: &Cores, root: &Path, arguments: &[&str], target: &Path) -> Result<()> {
    let mut command: Command = cores.anywhere(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(root).env("CARGO_TARGET_DIR", target);
    let output = command.output().context("run cargo")?;
    ensure!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[derive(Deserialize)]
struct Unit {
    name: String,
    version: String,
    duration: f64,
}

/// The data that Cargo puts into its report, one JSON list.
fn units(report: &str) -> Result<Vec<Unit>> {
    let start = report.find("const UNIT_DATA = ").context("Cargo's timings have another form")?;
    let json = &report[start + "const UNIT_DATA = ".len()..];
    let mut lists = serde_json::Deserializer::from_str(json).into_iter::<Vec<Unit>>();
    lists.next().context("Cargo's timings have no list")?.context("read Cargo's timings")
}

fn is_ours(name: &str) -> bool {
    name.starts_with("portolan") || name == "netsel" || name == "xtask"
}

/// Why the heavy ones are there: `testing/bench/heavy.toml`.
fn reasons(root: &Path) -> Result<BTreeMap<String, String>> {
    let path = root.join("testing/bench/heavy.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("read {}", path.display()))
}

fn heavy(units: &[Unit], reasons: &BTreeMap<String, String>) -> Vec<String> {
    let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
    for unit in units.iter().filter(|unit| !is_ours(&unit.name)) {
        *seconds.entry(&unit.name).or_default() += unit.duration;
    }
    let mut slowest: Vec<(&str, f64)> = seconds.into_iter().collect();
    slowest.sort_by(|a, b| b.1.total_cmp(&a.1));
    let reason = |name: &str| reasons.get(name).map_or("no reason written down yet", String::as_str);
    slowest.iter().take(HEAVY).map(|(name, s)| format!("`{name}`, {s:.0} s: {}", reason(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::{heavy, units};

    #[test]
    fn timings_are_read_out_of_cargos_report() {
        let report = "<script>const UNIT_DATA = [{\"name\":\"a\",\"version\":\"1\",\"duration\":2.5,\"x\":[]}];\n\
            const CONCURRENCY_DATA = [];";
        let units = units(report).unwrap();
        assert_eq!(heavy(&units, &Default::default()), ["`a`, 2 s: no reason written down yet"]);
    }
}
