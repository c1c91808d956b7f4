//! Names that tell which process made a thing, so that what a killed run left can be told from what is in use.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::run;

const PREFIX: &str = "portolan-lab-";

/// Where `ip netns` keeps its names.
pub(crate) const NAMESPACES: &str = "/run/netns";

/// A name that no other test has, of this process or of another.
pub(crate) fn name(what: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("{PREFIX}{}-{}-{what}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Removes what processes that are no more have left. Nothing that fails here matters: another run may be
/// doing the same.
pub(crate) fn sweep(ip: &Path) {
    for name in abandoned(Path::new(NAMESPACES)) {
        let _ = run(ip, &["netns", "del", &name]);
    }
    let folder = std::env::temp_dir();
    for name in abandoned(&folder) {
        let path = folder.join(name);
        let text = path.display().to_string();
        let _ = run(Path::new("fsfreeze"), &["--unfreeze", &text]);
        let _ = run(Path::new("umount"), &["--lazy", &text]);
        let _ = fs::remove_dir(&path);
        let _ = fs::remove_file(&path);
    }
}

fn abandoned(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| maker(name).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists())).collect()
}

fn maker(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{abandoned, maker, name};

    #[test]
    fn only_what_a_dead_process_made_is_abandoned() {
        assert_eq!(maker(&name("a")), Some(std::process::id()));
        assert_eq!(maker("portolan-other"), None);
        let folder = tempfile::tempdir().unwrap();
        for name in [name("mine"), "portolan-lab-4294967295-0-a".into(), "something-else".into()] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(abandoned(folder.path()), ["portolan-lab-4294967295-0-a"]);
    }
}
