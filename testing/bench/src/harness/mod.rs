//! How things are measured: interleaved rounds, medians, CPU of whole process trees, servers and loaders on
//! processors of their own.

pub(crate) mod cores;
pub(crate) mod figure;
pub(crate) mod machine;
pub(crate) mod process;
pub(crate) mod rounds;

use std::path::PathBuf;

/// What every group is given.
pub(crate) struct Context {
    /// The release binary under test.
    pub(crate) portolan: PathBuf,
    /// A folder on the disk that is measured; groups make their own inside and remove them.
    pub(crate) scratch: PathBuf,
    /// Rounds of which the median is taken.
    pub(crate) rounds: usize,
    /// Shorter and smaller, to see that everything works; figures are not to be trusted.
    pub(crate) quick: bool,
    /// What keeps the processors awake.
    pub(crate) awake: cores::Awake,
}

impl Context {
    /// Where the document of all figures is, and pictures beside it.
    pub(crate) fn documents(&self) -> PathBuf {
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs").into()
    }

    /// `full`, or `quick` where a trial run was asked for.
    pub(crate) fn size<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
