//! `fuzz-replay [--seconds N] [--seed N] [TARGET]`: replays the corpus, then goes on with mutations of it.
//!
//! An input that breaks a promise is written to `fuzz/artifacts/` and named; replaying it is one more file in
//! the corpus.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use portolan_fuzz_replay::{TARGETS, Target, find, inputs, mutate};

const USAGE: &str = "fuzz-replay [--seconds N] [--seed N] [TARGET]

  --seconds N   go on with mutations for N seconds for each target (default 0: the corpus alone)
  --seed N      begin the mutations at this seed (default 1)";

struct Options {
    seconds: u64,
    seed: u64,
    targets: Vec<&'static Target>,
}

fn main() -> ExitCode {
    match run(std::env::args().skip(1).collect()) {
        Ok(broken) if broken.is_empty() => ExitCode::SUCCESS,
        Ok(broken) => {
            broken.iter().for_each(|path| eprintln!("a promise is broken by {}", path.display()));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("fuzz-replay: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Vec<String>) -> Result<Vec<PathBuf>> {
    let options = parse(args)?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut broken = Vec::new();
    for target in &options.targets {
        let inputs = inputs(&root, target).with_context(|| format!("read the corpus of {}", target.name))?;
        let (runs, failed) = replay(target, &inputs, &options);
        println!("{}: {} inputs, {runs} mutations", target.name, inputs.len());
        if let Some(input) = failed {
            broken.push(keep(&root, target, &input)?);
        }
    }
    Ok(broken)
}

fn parse(args: Vec<String>) -> Result<Options> {
    let mut options = Options { seconds: 0, seed: 1, targets: Vec::new() };
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let mut number =
            || args.next().and_then(|n| n.parse().ok()).with_context(|| format!("{arg} needs a number"));
        match arg.as_str() {
            "--seconds" => options.seconds = number()?,
            "--seed" => options.seed = number()?,
            "--help" | "-h" => bail!("{USAGE}"),
            name => options.targets.push(find(name).with_context(|| no_such(name))?),
        }
    }
    if options.targets.is_empty() {
        options.targets = TARGETS.iter().collect();
    }
    Ok(options)
}

fn no_such(name: &str) -> String {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    format!("no target {name}; there are {}", names.join(", "))
}

/// How many mutations ran, and the first input that broke the target.
fn replay(target: &Target, inputs: &[Vec<u8>], options: &Options) -> (u64, Option<Vec<u8>>) {
    let holds = |input: &[u8]| catch_unwind(AssertUnwindSafe(|| (target.run)(input))).is_ok();
    if let Some(input) = inputs.iter().find(|input| !holds(input)) {
        return (0, Some(input.clone()));
    }
    let until = Instant::now() + Duration::from_secs(options.seconds);
    let mut runs = 0;
    while Instant::now() < until && !inputs.is_empty() {
        let mut rng = fastrand::Rng::with_seed(options.seed + runs);
        let (one, other) = (&inputs[rng.usize(0..inputs.len())], &inputs[rng.usize(0..inputs.len())]);
        let input = mutate::mutate(&mut rng, one, other);
        if !holds(&input) {
            return (runs, Some(input));
        }
        runs += 1;
    }
    (runs, None)
}

fn keep(root: &Path, target: &Target, input: &[u8]) -> Result<PathBuf> {
    let folder = root.join("fuzz/artifacts").join(target.name);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    // FNV-1a: a name that is the same for the same input
    let hash = input.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = folder.join(format!("replay-{hash:016x}"));
    std::fs::write(&path, input).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}
