//! What only Debian reads: `DEBIAN/` of the tree (deb-control(5), deb-conffiles(5), deb-postinst(5)).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::tree::Tree;

/// Files that an operator edits: kept on an upgrade.
const CONFIGURATION: &str = "/etc/portolan/portolan.toml\n";

pub(super) fn write(root: &Path, tree: &Tree, binary: &Path, version: &str, machine: &str) -> Result<()> {
    let bytes = fs::read(binary).with_context(|| format!("read {}", binary.display()))?;
    let libc = newest_libc(&bytes)
        .map_or_else(|| "libc6".to_owned(), |(major, minor)| format!("libc6 (>= {major}.{minor})"));
    let control = format!(
        "Package: portolan\n\
         Version: {version}\n\
         Architecture: {machine}\n\
         Maintainer: The Portolan authors <portolan@localhost>\n\
         Installed-Size: {}\n\
         Depends: {libc}, libgcc-s1\n\
         Recommends: nftables\n\
         Section: net\n\
         Priority: optional\n\
         Description: names, addresses and routes for the services of your own hosts\n \
         One daemon per host gives every service a name, an address, a health state and a\n \
         guarded route, and speaks Consul's API and DNS names.\n",
        bytes.len().div_ceil(1024),
    );
    tree.write("DEBIAN/control", control.as_bytes(), 0o644)?;
    tree.write("DEBIAN/conffiles", CONFIGURATION.as_bytes(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.copy(&root.join("packaging").join(script), &format!("DEBIAN/{script}"), 0o755)?;
    }
    Ok(())
}

/// The newest C library that `binary` asks for: its dynamic symbols name the versions, as `GLIBC_2.34`.
fn newest_libc(binary: &[u8]) -> Option<(u32, u32)> {
    const MARK: &[u8] = b"GLIBC_";
    let places = binary.windows(MARK.len()).enumerate().filter(|(_, window)| *window == MARK);
    let versions = places.filter_map(|(at, _)| {
        let rest = &binary[at + MARK.len()..];
        let end = rest.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
        let (major, minor) = std::str::from_utf8(&rest[..end]).ok()?.split_once('.')?;
        // A third part, as in 2.2.5, is older than any Debian that is still there.
        Some((major.parse().ok()?, minor.split('.').next()?.parse().ok()?))
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::newest_libc;

    #[test]
    fn the_newest_version_counts_and_not_the_last() {
        assert_eq!(newest_libc(b"x\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0"), Some((2, 34)));
        assert_eq!(newest_libc(b"static"), None);
    }
}
