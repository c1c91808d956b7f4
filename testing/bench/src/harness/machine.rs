//! What it was measured on, without a date: the same words for the same machine.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Processor, memory, kernel and the file system of the folder.
pub(crate) fn describe(folder: &Path) -> String {
    // Not what this process may use: it keeps itself to the load's part.
    let cpus = read("/proc/cpuinfo").lines().filter(|line| line.starts_with("processor")).count();
    let release = read("/proc/sys/kernel/osrelease");
    format!(
        "{}, {cpus} processors, {:.0} GiB of memory, Linux {}, {}, {}",
        field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        memory_gib(),
        release.trim(),
        field_equals("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| "no os-release".to_owned()),
        filesystem(folder),
    )
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// `name : value`
fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `NAME="value"`
fn field_equals(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

fn memory_gib() -> f64 {
    let kib =
        field("/proc/meminfo", "MemTotal").and_then(|value| value.split(' ').next()?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0 / 1024.0
}

/// The longest mount point that the folder stands below.
fn filesystem(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    let mounts = read("/proc/self/mounts");
    let found = mounts
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (_, place, kind) = (words.next()?, words.next()?, words.next()?);
            folder.starts_with(place).then_some((place.len(), kind))
        })
        .max();
    found.map_or_else(|| "an unknown file system".to_owned(), |(_, kind)| kind.to_owned())
}

/// What a program says of its version: the first line of `program arguments` that has a digit in it.
pub(crate) fn version(program: &Path, arguments: &[&str]) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Ok(output) = Command::new(program).args(arguments).output() else { return name };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().find(|line| line.chars().any(|c| c.is_ascii_digit())).unwrap_or("").trim();
    match line
        .split([' ', '\t', '/'])
        .find(|word| word.trim_start_matches(['v', 'V']).starts_with(|c: char| c.is_ascii_digit()))
    {
        Some(version) => format!("{name} {}", version.trim_end_matches(',')),
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use super::{describe, version};
    use std::path::Path;

    #[test]
    fn a_machine_is_told_without_a_date() {
        let told = describe(Path::new("/"));
        assert!(told.contains("Linux") && told.contains("GiB"), "{told}");
        assert!(version(Path::new("rustc"), &["--version"]).starts_with("rustc 1."));
    }
}
