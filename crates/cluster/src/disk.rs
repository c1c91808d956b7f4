//! Files that are whole or not there, and private where they must be.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use crate::error::Error;

/// Largest file that is read: certificates, keys and a list of servers.
const MOST_BYTES: u64 = 4 << 20;

fn failed(attempted: &'static str, path: &Path) -> impl Fn(std::io::Error) -> Error {
    let path = path.to_owned();
    move |cause| Error::File { attempted, path: path.clone(), cause }
}

/// Makes a directory that only its owner enters, unless it exists.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the directory", path))
}

/// Replaces a file at once; mode 0600 from its first byte on.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<(), Error> {
    write(path, content, 0o600)
}

/// Replaces a file at once; others may read it.
pub(crate) fn write_public(path: &Path, content: &[u8]) -> Result<(), Error> {
    write(path, content, 0o644)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    let failed = failed("write", path);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(0o600))
        .tempfile_in(parent)
        .map_err(&failed)?;
    file.write_all(content).map_err(&failed)?;
    file.as_file().set_permissions(Permissions::from_mode(mode)).map_err(&failed)?;
    file.as_file().sync_all().map_err(&failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    File::open(parent).and_then(|directory| directory.sync_all()).map_err(failed)
}

/// Reads a text file; `None` when it is missing.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    match fs::metadata(path) {
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(failed("read", path)(cause)),
        Ok(found) if found.len() > MOST_BYTES => {
            let reason = format!("it has {} bytes, more than such a file ever has", found.len());
            return Err(Error::Content { path: path.into(), reason });
        }
        Ok(_) => {}
    }
    fs::read_to_string(path).map(Some).map_err(failed("read", path))
}

/// Removes a file, which may be missing.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", path)(cause)),
        _ => Ok(()),
    }
}
