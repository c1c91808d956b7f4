//! Reading the catalog: views, blocking, consistency, the shared rendering.

mod blocking;
mod cache;
mod options;
mod view;

pub(crate) use blocking::{Asked, Gate, answer, settle, with_fields};
pub(crate) use cache::Cache;
pub(crate) use options::{Consistency, ReadOptions, check_datacenter, check_tenancy};
pub(crate) use view::{Context, Scope, View};
