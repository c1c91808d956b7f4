//! What the operator says of a firewall of ours that is on trial. It is kept beside the node's data, so that only other
//! settings are tried again.

use std::path::PathBuf;
use std::sync::Mutex;

use api::Refused;
use hostnet::firewall::{self, Consent, Mode, ON_TRIAL};
use state::{Publisher, Reader, Report, channel};

use crate::daemon::file;

/// Where it is said.
pub(super) struct Desk {
    is_own: bool,
    consent: Mutex<Publisher<Consent>>,
    reported: Reader<Report>,
    path: Option<PathBuf>,
    agreed: String,
}

impl Desk {
    /// With what was said in an earlier life.
    pub(super) fn open(config: &firewall::Config, path: Option<PathBuf>, reported: Reader<Report>) -> Desk {
        let (is_own, agreed) = (config.mode == Mode::Own, firewall::agreed(config));
        let said = path.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        let is_given = said.is_some_and(|said| said == agreed);
        let consent = Mutex::new(channel(Consent { is_given, trials: 0 }).0);
        Desk { is_own, consent, reported, path, agreed }
    }

    /// For whoever makes the rules.
    pub(super) fn consent(&self) -> Reader<Consent> {
        self.said().reader()
    }

    /// One of the operator's words: `confirm` or `try`.
    pub(super) fn hear(&self, word: &str) -> Result<(), Refused> {
        if !self.is_own {
            let why = "this host's firewall is not ours: firewall.mode is not \"own\"".to_owned();
            return Err(Refused::Conflict(why));
        }
        let consent = self.said();
        let trials = consent.now().trials;
        match word {
            "confirm" if !self.reported.now().failures.iter().any(|one| one.attempted == ON_TRIAL) => {
                let why = "no firewall is on trial here; `portolan firewall try` begins one".to_owned();
                return Err(Refused::Conflict(why));
            }
            "confirm" => {
                self.write(Some(&self.agreed))?;
                consent.publish(Consent { is_given: true, trials });
            }
            "try" => {
                self.write(None)?;
                consent.publish(Consent { is_given: false, trials: trials + 1 });
            }
            _ => return Err(Refused::Unknown(format!("{word:?} is neither confirm nor try"))),
        }
        Ok(())
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Publisher<Consent>> {
        self.consent.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self, said: Option<&str>) -> Result<(), Refused> {
        let Some(path) = &self.path else { return Ok(()) };
        let done = match said {
            Some(said) => file::replace(path, said.as_bytes()),
            None => std::fs::remove_file(path).or_else(|cause| match cause.kind() {
                std::io::ErrorKind::NotFound => Ok(()),
                _ => Err(cause),
            }),
        };
        done.map_err(|cause| Refused::Unavailable(format!("write {}: {cause}", path.display())))
    }
}
