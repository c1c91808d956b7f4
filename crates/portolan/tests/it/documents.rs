//! The user guide says what is so.

use std::collections::BTreeMap;
use std::path::Path;

use portolan::config::{Config, Sources, load};
use serde_json::Value;

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)).unwrap()
}

/// Keys and defaults as the tables give them.
fn documented() -> BTreeMap<String, String> {
    let text = document("configuration.md");
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let key = cells.next()?.strip_suffix('`')?;
        let is_key = key.contains('.') || ["expose", "consul", "public_dns", "rules"].contains(&key);
        (is_key && !key.contains(' ')).then_some((key.to_owned(), cells.next()?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_key_is_documented_with_its_default() {
    let loaded = load(&Sources::default()).unwrap();
    assert_eq!(loaded.config, Config::default());
    let shown = |value: &Value| if value.is_null() { "unset".into() } else { format!("`{value}`") };
    let mut expected: BTreeMap<_, _> =
        loaded.settings.iter().map(|(key, setting)| (key.clone(), shown(&setting.value))).collect();
    // Depends on who asks.
    let data_dir = "`/var/lib/portolan` as root, else `$XDG_STATE_HOME/portolan`";
    expected.insert("node.data_dir".into(), data_dir.into());
    let documented = documented();
    for (key, default) in &expected {
        assert_eq!(documented.get(key), Some(default), "docs/configuration.md on `{key}`");
    }
    let invented: Vec<_> = documented.keys().filter(|key| !expected.contains_key(*key)).collect();
    assert!(invented.is_empty(), "docs/configuration.md knows keys that there are not: {invented:?}");
}

#[test]
fn every_command_is_documented() {
    let text = document("command-line.md");
    for command in portolan::cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = format!("`portolan {}", command.get_name());
        assert!(text.contains(&name), "docs/command-line.md does not say what {name}` does");
    }
}

#[test]
fn the_configuration_that_is_shown_works() {
    let text = document("configuration.md");
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let (example, _) = rest.split_once("```").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portolan.toml");
    std::fs::write(&file, example).unwrap();
    load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
}
