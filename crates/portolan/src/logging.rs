//! Lines about what happens: to people on a terminal, as JSON to machines. Written to standard error.

mod limit;

use std::io::IsTerminal as _;
use std::str::FromStr as _;

use anyhow::Context as _;
use tracing_subscriber::filter::{FilterExt as _, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, fmt, reload};

use crate::config::{LogFormat, Logging};

/// Changes the level of a running process.
#[derive(Debug, Clone)]
pub(crate) struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    /// Sets another level, as `logging.level` writes it.
    ///
    /// # Errors
    /// When it is not a level.
    pub(crate) fn set(&self, level: &str) -> anyhow::Result<()> {
        self.0.reload(parse(level)?).context("change the log level")
    }
}

/// Starts logging for this process. Call once.
///
/// # Errors
/// When the level does not parse, or when something else in this process logs already.
pub(crate) fn start(config: &Logging, color: bool) -> anyhow::Result<LevelHandle> {
    let (filter, handle) = reload::Layer::new(parse(&config.level)?);
    let is_human = match config.format {
        LogFormat::Human => true,
        LogFormat::Json => false,
        LogFormat::Auto => std::io::stderr().is_terminal(),
    };
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines =
        if is_human { lines.with_ansi(color).with_target(false).boxed() } else { lines.json().boxed() };
    let filter = filter.and(limit::Limit::default());
    tracing_subscriber::registry().with(lines.with_filter(filter)).try_init().context("start logging")?;
    Ok(LevelHandle(handle))
}

/// Reads a level: `info`, or by module `info,portolan_dns=debug`.
///
/// # Errors
/// When it is not one.
pub(crate) fn parse(level: &str) -> anyhow::Result<Targets> {
    let what_to_do = "write error, warn, info, debug or trace, or a list like \"info,portolan_dns=debug\"";
    Targets::from_str(level).with_context(|| format!("log level \"{level}\": {what_to_do}"))
}
