//! The flags that say what a node is configured by: the same for `serve`, `check-config` and `config show`.

use std::path::PathBuf;

use anyhow::anyhow;

use crate::config::{Flag, LogFormat, Sources};
use crate::exit::{Exit, Failure, Result};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SourceArgs {
    /// Configuration file, TOML or JSON
    #[arg(long, short, value_name = "FILE", env = "PORTOLAN_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything durable is kept
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Name of this node
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// `error`, `warn`, `info`, `debug`, `trace`, or by module: `info,portolan_dns=debug`
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// How a line of the log looks
    #[arg(long, value_enum, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// Set any key of the configuration, like `dns.listen=127.0.0.1:5300`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl SourceArgs {
    /// Where the configuration comes from, the environment of this process included.
    pub(crate) fn sources(&self) -> Result<Sources> {
        let env = std::env::vars_os();
        let env = env.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Sources { file: self.config.clone(), env: env.collect(), flags: self.flags()? })
    }

    /// The name that `--node` gives.
    pub(crate) fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    fn flags(&self) -> Result<Vec<Flag>> {
        let mut flags = Vec::new();
        let mut put = |name: &str, key: &str, value: Option<String>| {
            flags.extend(value.map(|value| Flag { name: name.into(), key: key.into(), value }));
        };
        put("--data-dir", "node.data_dir", self.data_dir.as_ref().map(|dir| dir.display().to_string()));
        put("--node", "node.name", self.node.clone());
        put("--log-level", "logging.level", self.log_level.clone());
        let format = self.log_format.and_then(|format| {
            use clap::ValueEnum as _;
            Some(format.to_possible_value()?.get_name().to_owned())
        });
        put("--log-format", "logging.format", format);
        for setting in &self.set {
            let (key, value) = setting.split_once('=').ok_or_else(|| {
                let cause = anyhow!("--set {setting}: there is no `=` in it");
                Failure::new(Exit::Usage, cause)
                    .advise("write --set KEY=VALUE, like --set logging.level=debug")
            })?;
            put("--set", key, Some(value.to_owned()));
        }
        Ok(flags)
    }
}
