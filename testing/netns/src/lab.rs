//! A few hosts on one switch.

use std::path::Path;

use crate::error::{Failure, Missing};
use crate::host::Host;
use crate::leftovers;
use crate::switch::Switch;

/// Hosts on a switch, gone with the value.
#[derive(Debug)]
pub struct Lab {
    /// In the order of their names.
    pub hosts: Vec<Host>,
    /// What is between them.
    pub switch: Switch,
}

impl Lab {
    /// Makes hosts with these names; their addresses are 10.90.0.1, 10.90.0.2 and so on.
    ///
    /// # Errors
    /// No privilege, no `ip`, no namespaces: reasons to skip.
    pub fn new(names: &[&str]) -> Result<Lab, Missing> {
        if !rustix::process::geteuid().is_root() {
            return Err(Missing("network namespaces need root".into()));
        }
        let ip = peers::tool("ip")?;
        peers::tool("setpriv")?;
        leftovers::sweep(&ip);
        Lab::build(&ip, names).map_err(|failure| {
            let cause =
                std::error::Error::source(&failure).map_or(String::new(), |cause| format!(": {cause}"));
            Missing(format!("network namespaces cannot be made here: {failure}{cause}"))
        })
    }

    fn build(ip: &Path, names: &[&str]) -> Result<Lab, Failure> {
        let (mut hosts, mut wires) = (Vec::new(), Vec::new());
        for (number, name) in names.iter().enumerate() {
            let number = u8::try_from(number).unwrap_or(u8::MAX - 1);
            let (host, wire) = Host::new(ip, name, number)?;
            hosts.push(host);
            wires.push(wire);
        }
        let switch = Switch::start(wires).map_err(Failure::io("start the switch"))?;
        Ok(Lab { hosts, switch })
    }
}
