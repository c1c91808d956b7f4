//! The table, and what each target promises.

use std::fmt::Debug;
use std::io::Write;

use catalog::{Command, Deregister, Envelope, KvCommand, Register};
use portolan::config;
use serde::de::DeserializeOwned;

/// One entry point for foreign bytes.
pub struct Target {
    /// Name of the libFuzzer binary and of the corpus' folder.
    pub name: &'static str,
    /// Panics when a promise is broken.
    pub run: fn(&[u8]),
    /// Inputs that code makes better than a file holds, such as encodings that change with a version.
    pub examples: fn() -> Vec<Vec<u8>>,
}

/// Every target. To add one: a row here, and its `[[bin]]` in `fuzz/Cargo.toml`.
pub const TARGETS: &[Target] = &[
    target("api_filter", api::fuzz::filter),
    target("api_query", api::fuzz::query),
    target("api_register", api::fuzz::register_body),
    target("catalog_checkpoint", catalog_checkpoint),
    target("catalog_envelope", catalog_envelope).with(envelopes),
    target("consul_check", consul_body::<consul::register::CheckRegistration>),
    target("consul_txn", consul_body::<Vec<consul::kv::TxnOp>>),
    target("dns_forwarded", dns::fuzz::forwarded),
    target("dns_packet", dns::fuzz::packet),
    target("gost_address", gost::fuzz::address),
    target("gost_message", gost::fuzz::message),
    target("grpc_health", grpc_health),
    target("portolan_config", portolan_config),
    target("state_units", state_units),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run, examples: Vec::new }
}

impl Target {
    const fn with(mut self, examples: fn() -> Vec<Vec<u8>>) -> Self {
        self.examples = examples;
        self
    }
}

/// A target by name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Bytes from a log: refused, or a command that survives being written again.
fn catalog_envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::decode(bytes) {
        let again = survives(envelope.encode());
        assert_eq!(survives(Envelope::decode(&again)), envelope);
    }
}

/// A saved state: refused, or read into one that can be saved again.
fn catalog_checkpoint(bytes: &[u8]) {
    if let Ok(snapshot) = catalog::checkpoint::read(bytes) {
        let mut again = Vec::new();
        survives(catalog::checkpoint::write(&snapshot, &mut again));
        drop(survives(catalog::checkpoint::read(again.as_slice())));
    }
}

fn envelopes() -> Vec<Vec<u8>> {
    let key = KvCommand::Set { key: "a/b".into(), value: "v".into(), flags: 7, cas: Some(3) };
    let gone = Deregister::Instance { node: "n".into(), id: "web-1".into(), registered_index: Some(9) };
    let commands = [
        Command::Register(Box::new(Register { on: "n".into(), ..Register::default() })),
        Command::Kv(key),
        Command::Batch(vec![Command::Deregister(gone)]),
        Command::AvoidVirtualIp { address: [127, 77, 0, 1].into() },
    ];
    let envelope = |command| Envelope { node: "n".into(), epoch: 1, sequence: 2, time_ms: 3, command };
    commands.into_iter().filter_map(|command| Some(envelope(command).encode().ok()?.to_vec())).collect()
}

/// A request's body: refused with an error, or read.
fn consul_body<T: DeserializeOwned>(bytes: &[u8]) {
    drop(consul::decode::<T>(bytes));
}

/// What a service answers to a gRPC health check.
fn grpc_health(bytes: &[u8]) {
    health::fuzz_health_response(bytes);
}

/// A configuration file: refused with every problem drawn under the text it is about, or read. TOML and JSON
/// are told apart by the name, so each input is both.
fn portolan_config(bytes: &[u8]) {
    for extension in ["toml", "json"] {
        let file = tempfile::Builder::new().suffix(&format!(".{extension}")).tempfile();
        let mut file = survives(file);
        survives(file.write_all(bytes));
        let sources = config::Sources { file: Some(file.path().to_owned()), ..config::Sources::default() };
        if let Err(config::LoadError::Wrong(problems)) = config::load(&sources) {
            assert!(problems.count() > 0);
            assert!(!problems.render(false).is_empty());
        }
    }
}

/// Durations and sizes as people write them.
fn state_units(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(state::units::parse_duration(text));
        drop(state::units::parse_size(text));
    }
}

#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
fn survives<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("what was read cannot be written and read again: {error:?}"),
    }
}
