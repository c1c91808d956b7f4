//! `portolan completions SHELL`

use std::io::{self, Write as _};

use clap_complete::Shell;

use crate::exit::Result;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which shell
    shell: Shell,
}

pub(crate) fn run(args: Args, cli: &mut clap::Command) -> Result {
    // Into memory first: clap_complete panics when whoever reads has gone (`| head`).
    let mut script = Vec::new();
    clap_complete::generate(args.shell, cli, "portolan", &mut script);
    match io::stdout().write_all(&script) {
        Err(cause) if cause.kind() != io::ErrorKind::BrokenPipe => Err(cause.into()),
        _ => Ok(()),
    }
}
