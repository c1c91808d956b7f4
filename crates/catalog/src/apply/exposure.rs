//! What services wish to be outside.

use std::sync::Arc;

use crate::apply::{Topic, Turn};
use crate::command::{Outcome, Refusal};
use crate::exposure::{Exposure, ExposureCommand, ExposureDef, MAX_EXPOSURES};
use crate::validate::Invalid;

impl Turn<'_> {
    pub(super) fn exposure(&mut self, command: &ExposureCommand) -> Outcome {
        match command {
            ExposureCommand::Set(def) => self.expose(def).unwrap_or_else(Outcome::Refused),
            ExposureCommand::Remove { service } => {
                let changed = self.state.exposures.remove(service).is_some();
                if changed {
                    self.touch_exposures();
                }
                Outcome::Done { changed }
            }
        }
    }

    fn expose(&mut self, def: &ExposureDef) -> Result<Outcome, Refusal> {
        def.validate()?;
        let before = self.state.exposures.get(&def.service);
        if before.is_some_and(|before| before.def == *def) {
            return Ok(Outcome::Done { changed: false });
        }
        if before.is_none() && self.state.exposures.len() >= MAX_EXPOSURES {
            let rule = format!("there are {MAX_EXPOSURES} already; remove one");
            return Err(Invalid::new("exposure", &def.service, rule).into());
        }
        let create_index = before.map_or(self.index, |before| before.create_index);
        let exposure = Exposure { def: def.clone(), create_index, modify_index: self.index };
        self.state.exposures.insert(def.service.clone(), Arc::new(exposure));
        self.touch_exposures();
        Ok(Outcome::Done { changed: true })
    }

    fn touch_exposures(&mut self) {
        self.state.tables.exposures = self.index;
        self.touched.insert(Topic::Exposures);
    }
}
