//! `portolan-bench --portolan BINARY [--rounds N] [--quick] [GROUP...]`: measures, and writes
//! `docs/benchmarks.md`. `cargo xtask bench` builds the binary first and then runs this.
//!
//! Where to look: the rules of measuring in `harness`, load generators in `load`, servers in `subject`, what
//! is measured in `groups`, what is written in `report`.

mod groups;
mod harness;
mod load;
mod report;
mod subject;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};

use groups::{GROUPS, Group};
use harness::Context;
use harness::cores::Cores;
use harness::machine;
use report::Section;

struct Options {
    portolan: Option<PathBuf>,
    rounds: usize,
    quick: bool,
    groups: Vec<&'static Group>,
}

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Failure when a group could not be measured. A missed goal is written down, not hidden in an exit code.
fn run() -> Result<ExitCode> {
    let options = parse(std::env::args().skip(1))?;
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let scratch = root.join("target/xtask/bench");
    std::fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let needed = options.groups.iter().any(|group| group.needs_portolan);
    let portolan = options.portolan.unwrap_or_default();
    ensure!(!needed || portolan.is_file(), "--portolan names no file: {}", portolan.display());
    let rounds = if options.quick { 1 } else { options.rounds };
    let cores = Cores::split()?;
    cores.take_loaders()?;
    let context = Context { portolan, scratch, rounds, quick: options.quick, awake: cores.keep_awake() };
    let machine = describe(&context, &cores);
    let mut failed = 0;
    for group in &options.groups {
        eprintln!("{}: {}", group.name, group.about);
        match (group.run)(&context, &cores) {
            Ok(section) => publish(root, &context, section, &machine)?,
            Err(error) => {
                eprintln!("{}: {error:#}", group.name);
                failed += 1;
            }
        }
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A trial run is printed and not written down.
fn publish(root: &Path, context: &Context, section: Section, machine: &str) -> Result<()> {
    print!("{}", report::show(&section));
    if context.quick { Ok(()) } else { report::write(root, &[section], machine) }
}

fn describe(context: &Context, cores: &Cores) -> String {
    let machine = machine::describe(&context.scratch);
    let awake = if context.awake.is_missing() { ", processors not kept awake (no chrt)" } else { "" };
    let rounds = context.rounds;
    format!("{machine}; {}{awake}; medians of {rounds} rounds", cores.describe())
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options { portolan: None, rounds: 5, quick: false, groups: Vec::new() };
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--portolan" => options.portolan = Some(args.next().context("--portolan needs a path")?.into()),
            "--rounds" => {
                let rounds = args.next().and_then(|rounds| rounds.parse().ok()).filter(|rounds| *rounds > 0);
                options.rounds = rounds.context("--rounds needs a number above 0")?;
            }
            "--quick" => options.quick = true,
            "--help" | "-h" => bail!("{}", usage()),
            name => options.groups.push(group(name)?),
        }
    }
    if options.groups.is_empty() {
        options.groups = GROUPS.iter().collect();
    }
    Ok(options)
}

fn group(name: &str) -> Result<&'static Group> {
    GROUPS
        .iter()
        .find(|group| group.name == name)
        .with_context(|| format!("no such group: {name}\n{}", usage()))
}

fn usage() -> String {
    let groups = GROUPS.iter().map(|group| format!("  {:12} {}\n", group.name, group.about));
    format!(
        "[--rounds N] [--quick] [GROUP...]\n\n  --rounds N   of which the median is taken (5)\n  --quick      one \
         short round, printed and not written down\n\n{}",
        groups.collect::<String>()
    )
}
