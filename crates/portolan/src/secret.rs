//! Secrets for other systems, which are no flag's value: everybody on a host may read those.

use std::path::Path;

use anyhow::Context as _;

/// What a file holds, else an environment variable; none where neither says anything.
///
/// # Errors
/// The file cannot be read, or holds nothing.
pub(crate) fn read(file: Option<&Path>, variable: &str) -> anyhow::Result<Option<String>> {
    let Some(file) = file.filter(|file| !file.as_os_str().is_empty()) else {
        return Ok(std::env::var(variable).ok().filter(|secret| !secret.is_empty()));
    };
    let place = || format!("read the token in {}", file.display());
    let text = std::fs::read_to_string(file).with_context(place)?;
    let secret = text.trim();
    anyhow::ensure!(!secret.is_empty(), "{} is empty: a token is expected", file.display());
    Ok(Some(secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_before_the_environment_and_must_hold_something() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        assert!(read(Some(&file), "PATH").unwrap_err().to_string().contains("token"));
        std::fs::write(&file, "\n").unwrap();
        assert!(read(Some(&file), "PATH").unwrap_err().to_string().contains("is empty"));
        std::fs::write(&file, "one\n").unwrap();
        assert_eq!(read(Some(&file), "PATH").unwrap().as_deref(), Some("one"));
        assert_eq!(read(None, "PATH").unwrap(), std::env::var("PATH").ok());
        assert_eq!(read(Some(Path::new("")), "PORTOLAN_TEST_UNSET").unwrap(), None);
    }
}
