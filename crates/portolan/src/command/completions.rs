//! `portolan completions SHELL`

use std::io;

use clap_complete::Shell;

use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: Args, cli: &mut clap::Command) -> Result {
    clap_complete::generate(args.shell, cli, "portolan", &mut io::stdout());
    Ok(())
}
