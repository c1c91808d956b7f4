//! The one loader.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::Config;
use super::layers::{Layers, Origin};
use super::parse::parse;
use super::problem::{Place, Problem, Problems, Source};

/// Largest file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// Where a configuration comes from. Kept by the daemon, so that a reload reads the same places again.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// File, if any.
    pub file: Option<PathBuf>,
    /// The environment: names and values.
    pub env: Vec<(String, String)>,
    /// Flags that stand for a setting.
    pub flags: Vec<Flag>,
}

/// A flag that stands for a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// As typed: `--data-dir`.
    pub name: String,
    /// Key: `node.data_dir`.
    pub key: String,
    /// Value as typed.
    pub value: String,
}

/// A setting in effect.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// Its value; `null` when unset.
    pub value: Value,
    /// Who gave it.
    pub origin: Origin,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The typed form.
    pub config: Config,
    /// Every setting by its key (`dns.listen`), for `config show` and for telling what a reload changed.
    pub settings: BTreeMap<String, Setting>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("read the configuration {path}")]
    Read {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// It says something that cannot be meant.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

/// Loads the configuration from all its sources.
///
/// # Errors
/// [`LoadError`]; all unknown keys are reported at once.
pub fn load(sources: &Sources) -> Result<Loaded, LoadError> {
    load_over(sources, &Config::default())
}

/// The same over other defaults (those of `dev`).
pub(crate) fn load_over(sources: &Sources, defaults: &Config) -> Result<Loaded, LoadError> {
    let unusable = |cause: serde_json::Error| LoadError::Read {
        path: "(built-in defaults)".into(),
        cause: io::Error::other(cause),
    };
    let mut layers = Layers::new(serde_json::to_value(defaults).map_err(unusable)?);
    if let Some(path) = &sources.file {
        let (source, tree) = read_file(path)?;
        layers.put_file(source, tree);
    }
    for (name, value) in &sources.env {
        if let Some(path) = path_of_variable(name) {
            layers.put_text(path, value, Origin::Env(name.clone()));
        }
    }
    for flag in &sources.flags {
        let path = flag.key.split('.').map(str::to_owned).collect();
        layers.put_text(path, &flag.value, Origin::Flag(flag.name.clone()));
    }
    let config: Option<Config> = layers.read();
    let settings = layers.settings();
    let (source, problems) = layers.into_source();
    match config {
        Some(mut config) if problems.is_empty() => {
            super::rules::note_places(&mut config.rules, &source.name, &source.text);
            let setting = |(key, (value, origin))| (key, Setting { value, origin });
            Ok(Loaded { config, settings: settings.into_iter().map(setting).collect() })
        }
        _ => Err(Problems { source, list: problems }.into()),
    }
}

fn read_file(path: &Path) -> Result<(Source, super::tree::Tree), LoadError> {
    let failed = |cause| LoadError::Read { path: path.to_owned(), cause };
    let length = std::fs::metadata(path).map_err(failed)?.len();
    if length > MAX_FILE {
        let message = format!("it has {length} bytes, and at most {MAX_FILE} are read");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let source = Source { name: path.display().to_string(), text };
    match parse(&source.name, &source.text) {
        Ok(tree) => Ok((source, tree)),
        Err(error) => {
            let problem = Problem {
                title: format!("syntax error: {}", error.message),
                label: "here".into(),
                help: None,
                place: Place::File(error.span),
            };
            Err(Problems { source, list: vec![problem] }.into())
        }
    }
}

/// `PORTOLAN_DNS__LISTEN` is `dns.listen`; `RUST_LOG` is `logging.level`. Other variables are not ours.
fn path_of_variable(name: &str) -> Option<Vec<String>> {
    if name == "RUST_LOG" {
        return Some(vec!["logging".into(), "level".into()]);
    }
    let key = name.strip_prefix("PORTOLAN_").filter(|key| key.contains("__"))?;
    Some(key.split("__").map(str::to_ascii_lowercase).collect())
}
