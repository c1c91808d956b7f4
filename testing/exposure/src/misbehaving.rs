//! A router that does what real ones do and miniupnpd never: it refuses leases, hangs, lies, sends others to strangers.

use peers::{Running, until};

use crate::LIMIT;
use crate::home::{Fallible, Home};

const PROGRAM: &str = include_str!("misbehaving.py");
/// Another host of the router's network, which would be believed if an answer could lead there.
const OTHER: &str = "192.168.77.9";

/// It takes the real router's place; packets go on as they did. What it holds is found by [`Home::mappings`].
pub struct Misbehaving<'a> {
    home: &'a Home,
    _router: Running,
}

impl<'a> Misbehaving<'a> {
    /// Ends the real router and starts this one, which behaves well at first.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &'a Home) -> Fallible<Misbehaving<'a>> {
        home.forget_mappings()?;
        let added =
            home.at_router("ip").args(["addr", "add", &format!("{OTHER}/24"), "dev", "lan0"]).output()?;
        if !added.status.success() {
            return Err(String::from_utf8_lossy(&added.stderr).into_owned().into());
        }
        write_mood(home, "")?;
        let folder = home.folder.path();
        let mut command = home.at_router("python3");
        command.args(["-c", PROGRAM]).args([folder.join("mood"), folder.join("leases")]);
        let router = Running::start(command.args(["192.168.77.1", OTHER]))?;
        until(LIMIT, "the other router", || router.said().contains("ready").then_some(()))?;
        Ok(Misbehaving { home, _router: router })
    }

    /// From now on it does this: `725`, `402`, `501`, `718`, `606`, `hangs`, `lies`, `megabyte`, `entities`,
    /// `redirect`, `location`; behaves well when empty.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn mood(&self, mood: &str) -> Fallible<()> {
        write_mood(self.home, mood)
    }
}

/// Replaced whole: it is read at any time.
fn write_mood(home: &Home, mood: &str) -> Fallible<()> {
    let path = home.folder.path().join("mood");
    let new = path.with_extension("new");
    std::fs::write(&new, mood)?;
    Ok(std::fs::rename(new, path)?)
}
