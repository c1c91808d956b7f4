//! What a reconciler says of the world it was told to bring about.

use crate::Versioned;

/// One thing that does not hold yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was attempted, on what.
    pub attempted: String,
    /// Why it failed, with what to do.
    pub cause: String,
}

/// Which generation of the plan holds, and what of it does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Generation (catalog index) of the plan that was carried out last.
    pub generation: u64,
    /// Parts of it that do not hold.
    pub failures: Vec<Failure>,
}

impl Versioned for Report {
    fn version(&self) -> u64 {
        self.generation
    }
}
