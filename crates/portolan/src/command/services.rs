//! `portolan services`

use consul::own::ServiceSummary;
use serde::Serialize;

use super::listing::{self, Watch};
use crate::cli::Global;
use crate::exit::Result;
use crate::output::Row;
use crate::remote::Remote;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    watch: Watch,
}

pub(crate) fn run(args: Args, global: &Global) -> Result {
    let remote = Remote::new(global)?;
    super::block_on(listing::show(
        &remote,
        global,
        "/v1/portolan/services",
        args.watch,
        |services: Vec<ServiceSummary>| services.into_iter().map(Service).collect(),
    ))
}

#[derive(Serialize)]
#[serde(transparent)]
struct Service(ServiceSummary);

impl Row for Service {
    const COLUMNS: &'static [&'static str] = &["service", "address", "port", "health", "tags"];
    fn cells(&self) -> Vec<String> {
        let service = &self.0;
        let counts = service.instances;
        let parts = [(counts.passing, "passing"), (counts.warning, "warning"), (counts.critical, "critical")];
        let health: Vec<_> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, status)| format!("{n} {status}")).collect();
        let address = service.r#virtual.as_ref();
        let port = address.map_or(service.port, |address| address.port);
        vec![
            service.name.to_string(),
            address.map_or(String::new(), |address| address.address.to_string()),
            port.to_string(),
            health.join(", "),
            service.tags.join(","),
        ]
    }
}
