//! Everything a developer runs, so that a clone and a Rust toolchain are all that is needed.
//!
//! One file per subcommand; what each takes is in its own `USAGE`.

mod bench;
mod fuzz_replay;
mod package;
mod peers;
mod test;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};

const USAGE: &str = "cargo xtask COMMAND

  tidy           check the house rules: arrows between crates, lengths, licences, words, links
  test           fetch peers, build once, run every test, say how many were skipped
  peers          unpack the programs of others that the tests talk to
  fuzz-replay    replay and mutate the corpus of the fuzz targets on the stable toolchain
  bench          measure the release binary beside its peers; write docs/benchmarks.md
  package        build the release binary and put it in a Debian package and an archive";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let command = args.next().unwrap_or_default();
    let rest: Vec<String> = args.collect();
    match run(&command, &rest) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask {command}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, args: &[String]) -> Result<ExitCode> {
    let root = root()?;
    match command {
        "tidy" => tidy::run(&root, args),
        "test" => test::run(&root, args),
        "bench" => bench::run(&root, args),
        "fuzz-replay" => fuzz_replay::run(&root, args),
        "peers" => peers::run(&root, args),
        "package" => package::run(&root, args),
        "" | "help" | "-h" | "--help" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        other => anyhow::bail!("no such command: {other}\n\n{USAGE}"),
    }
}

/// The workspace's root: the folder above this package, whatever the current one is.
fn root() -> Result<PathBuf> {
    let here =
        std::env::var("CARGO_MANIFEST_DIR").context("run it as `cargo xtask`, which says where it is")?;
    let root = Path::new(&here).parent().context("the package has a folder above it")?;
    Ok(root.to_path_buf())
}
