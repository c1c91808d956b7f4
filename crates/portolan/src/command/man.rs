//! `portolan man --out DIR`: the manual's pages, one for every command. For those who package.

use std::path::PathBuf;

use anyhow::Context as _;

use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory for the pages, made if need be
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args, cli: clap::Command) -> Result {
    std::fs::create_dir_all(&args.out).with_context(|| format!("make {}", args.out.display()))?;
    let written = clap_mangen::generate_to(cli, &args.out);
    written.with_context(|| format!("write manual pages to {}", args.out.display()))?;
    Ok(())
}
