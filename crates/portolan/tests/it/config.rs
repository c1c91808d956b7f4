//! The configuration as an operator meets it: precedence, origins, and errors that show the line.

use std::time::Duration;

use portolan::config::{Flag, LoadError, Origin, Sources, load};

fn file(name: &str, text: &str) -> (tempfile::TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    (folder, Sources { file: Some(path), ..Sources::default() })
}

/// What the loader says of this file, with its folder taken out.
fn complaint(name: &str, text: &str) -> String {
    let (folder, sources) = file(name, text);
    match load(&sources) {
        Err(LoadError::Wrong(problems)) => {
            problems.to_string().replace(&format!("{}/", folder.path().display()), "")
        }
        other => panic!("expected problems, got {other:?}"),
    }
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let text = "[node]\nname = \"from-file\"\ndrain_timeout = \"3s\"\ncontrol_threads = 3\n";
    let (_folder, mut sources) = file("portolan.toml", text);
    sources.env = vec![
        ("PORTOLAN_NODE__CONTROL_THREADS".into(), "5".into()),
        ("PORTOLAN_NODE__DRAIN_TIMEOUT".into(), "4s".into()),
        ("PATH".into(), "/bin".into()),
        ("PORTOLAN_API".into(), "not a setting: it has no section".into()),
    ];
    sources.flags =
        vec![Flag { name: "--drain-timeout".into(), key: "node.drain_timeout".into(), value: "1m".into() }];
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.node.name.as_deref(), Some("from-file"));
    assert_eq!(loaded.config.node.control_threads, 5);
    assert_eq!(loaded.config.node.drain_timeout, Duration::from_secs(60));
    let origin = |key: &str| loaded.settings[key].origin.to_string();
    assert!(origin("node.name").ends_with("portolan.toml:2"), "{}", origin("node.name"));
    assert_eq!(origin("node.control_threads"), "env PORTOLAN_NODE__CONTROL_THREADS");
    assert_eq!(origin("node.drain_timeout"), "flag --drain-timeout");
    assert_eq!(loaded.settings["logging.level"].origin, Origin::Default);
}

#[test]
fn json_and_toml_mean_the_same() {
    let (_a, toml) = file("a.toml", "[logging]\nlevel = \"debug\"\n[storage]\ncheckpoint_size = \"1MiB\"\n");
    let json = r#"{"logging": {"level": "debug"}, "storage": {"checkpoint_size": "1MiB"}}"#;
    let (_b, json) = file("a.json", json);
    assert_eq!(load(&toml).unwrap().config, load(&json).unwrap().config);
}

#[test]
fn rust_log_is_the_level() {
    let env = vec![("RUST_LOG".into(), "trace".into())];
    let loaded = load(&Sources { env, ..Sources::default() }).unwrap();
    assert_eq!(loaded.config.logging.level, "trace");
}

#[test]
fn an_unknown_key_shows_its_line_and_the_nearest_key() {
    let text = "# my node\n[node]\nnaem = \"a\"\n[loging]\nlevel = \"info\"\n";
    let expected = "\
error: unknown key `node.naem`
 --> portolan.toml:3:1
  |
3 | naem = \"a\"
  | ^^^^ nobody reads this
  |
  = help: did you mean `name`?

error: unknown key `loging`
 --> portolan.toml:4:2
  |
4 | [loging]
  |  ^^^^^^ nobody reads this
  |
  = help: did you mean `logging`?";
    assert_eq!(complaint("portolan.toml", text), expected);
}

#[test]
fn a_key_of_another_section_is_pointed_at() {
    let text = complaint("a.toml", "[node]\nlevel = \"info\"\n");
    assert!(text.contains("= help: there is such a key in [logging]"), "{text}");
}

#[test]
fn a_value_of_the_wrong_kind_shows_its_line() {
    let json = "{\n  \"node\": {\"drain_timeout\": 10}\n}";
    let expected = "\
error: `node.drain_timeout`: invalid type: integer `10`, expected a string
 --> a.json:2:29
  |
2 |   \"node\": {\"drain_timeout\": 10}
  |                             ^^ this value";
    assert_eq!(complaint("a.json", json), expected);
    let toml = complaint("a.toml", "[node]\ndrain_timeout = \"10\"\n");
    assert!(toml.contains("\"10\" is not a duration: write numbers with units"), "{toml}");
}

#[test]
fn a_syntax_error_shows_its_line() {
    let text = complaint("a.toml", "[node]\nname = \n");
    assert!(text.starts_with("error: syntax error: ") && text.contains("--> a.toml:2:"), "{text}");
    let text = complaint("a.json", "{\n\"node\": }");
    assert!(text.contains("--> a.json:2:"), "{text}");
}

#[test]
fn the_environment_and_flags_are_named() {
    let env = vec![("PORTOLAN_NODE__NAEM".into(), "x".into())];
    let error = load(&Sources { env, ..Sources::default() }).unwrap_err().to_string();
    let expected = "error: unknown key `node.naem` (from the environment: PORTOLAN_NODE__NAEM)";
    assert!(error.starts_with(expected) && error.contains("did you mean `name`?"), "{error}");
    let flag = Flag { name: "--set".into(), key: "node.control_threads".into(), value: "many".into() };
    let error = load(&Sources { flags: vec![flag], ..Sources::default() }).unwrap_err().to_string();
    assert!(error.contains("`node.control_threads`: invalid type: string \"many\""), "{error}");
    assert!(error.contains("(from --set)"), "{error}");
}

#[test]
fn problems_are_data_too() {
    let (_folder, sources) = file("a.toml", "[node]\n  naem = 1\n");
    let Err(LoadError::Wrong(problems)) = load(&sources) else { panic!("expected problems") };
    let data = serde_json::to_value(problems.data()).unwrap();
    assert_eq!((&data[0]["line"], &data[0]["column"]), (&2.into(), &3.into()));
    assert_eq!(data[0]["help"], "did you mean `name`?");
}

#[test]
fn a_missing_or_huge_file_is_an_error() {
    let sources = Sources { file: Some("/nonexistent/portolan.toml".into()), ..Sources::default() };
    assert!(matches!(load(&sources), Err(LoadError::Read { .. })));
    let (_folder, sources) = file("a.toml", &"#".repeat(5 << 20));
    assert!(matches!(load(&sources), Err(LoadError::Read { .. })));
}
