//! `portolan psk`: keys that two hosts share.

use std::path::PathBuf;

use broker::psk::{Key, KeyError, Keys, is_identity};

use crate::cli::Global;
use crate::exit::{Exit, Failure, Result};

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Psk {
    /// Make a key of 256 bits, and write it to a file or to standard output as IDENTITY:KEY
    Create {
        /// Whose key: letters, digits, `.`, `-` and `_`
        #[arg(value_parser = identity)]
        identity: String,
        /// File to write it behind, for its owner alone (mode 0600); made where it is missing. What
        /// `broker.keys` and `ipcd --keys` read
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

fn identity(text: &str) -> std::result::Result<String, String> {
    let odd = || "an identity has letters, digits, `.`, `-` and `_`, 128 of them at most".to_owned();
    if is_identity(text) { Ok(text.to_owned()) } else { Err(odd()) }
}

pub(crate) fn run(psk: Psk, global: &Global) -> Result {
    let Psk::Create { identity, file } = psk;
    let key = Key::generate().map_err(|cause| Failure::from(anyhow::Error::new(cause)))?;
    let Some(file) = file else {
        println!("{identity}:{}", key.reveal());
        return Ok(());
    };
    Keys::add(&file, &identity, &key).map_err(|cause| match cause {
        cause @ (KeyError::Present { .. } | KeyError::Open(_)) => {
            Failure::new(Exit::Usage, anyhow::Error::new(cause))
        }
        cause => Failure::from(anyhow::Error::new(cause)),
    })?;
    let said = format!("the key of {identity} is in {}; the other side needs the same line", file.display());
    Ok(global.out().say(&said)?)
}
