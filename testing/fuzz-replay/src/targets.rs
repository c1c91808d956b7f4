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
    target("acl_rules", acl::fuzz_rules),
    target("api_filter", api::fuzz::filter),
    target("api_query", api::fuzz::query),
    target("api_register", api::fuzz::register_body),
    target("archive_unpack", archive::fuzz_unpack).with(archives),
    target("broker_frame", broker::fuzz::frame),
    target("broker_gateway_target", |bytes| as_text(bytes, broker::fuzz::gateway_target)),
    target("broker_greeting", broker::fuzz::greeting),
    target("broker_keys", |bytes| as_text(bytes, broker::fuzz::keys)),
    target("broker_map", |bytes| as_text(bytes, broker::fuzz::map)),
    target("broker_request", broker::fuzz::request),
    target("broker_socks", broker::fuzz::socks),
    target("broker_uri", |bytes| as_text(bytes, broker::fuzz::uri)),
    target("broker_websocket", broker::fuzz::websocket),
    target("broker_websocket_answer", broker::fuzz::websocket_answer),
    target("catalog_checkpoint", catalog_checkpoint),
    target("catalog_envelope", catalog_envelope).with(envelopes),
    target("cluster_join", cluster::join::fuzz_message),
    target("cluster_life", cluster::life::fuzz_message),
    target("cluster_token", |bytes| as_text(bytes, cluster::token::fuzz_token)).with(tokens),
    target("consul_check", consul_body::<consul::register::CheckRegistration>),
    target("consul_hcl", portolan::fuzz_hcl),
    target("consul_txn", consul_body::<Vec<consul::txn::TxnOp>>),
    target("containers_list", containers::fuzz::fuzz_containers),
    target("dns_forwarded", dns::fuzz::forwarded),
    target("dns_packet", dns::fuzz::packet),
    target("expose_certificate", expose::acme::fuzz_validity).with(certificates),
    target("expose_datagram", expose::fuzz::datagram),
    target("expose_reply", expose::names::fuzz_reply),
    target("expose_router_xml", |bytes| as_text(bytes, expose::fuzz::router_xml)),
    target("expose_tag", |bytes| as_text(bytes, expose::fuzz::tag)),
    target("gost_address", gost::fuzz::address),
    target("gost_message", gost::fuzz::message),
    target("grpc_health", grpc_health),
    target("hostnet_ruleset", |bytes| as_text(bytes, hostnet::firewall::fuzz_ruleset)),
    target("log_chain", log_chain),
    target("log_checkpoint", log_checkpoint),
    target("log_etcd_answer", log::etcd::fuzz_answer).with(etcd_answers),
    target("log_part", log::paxos::fuzz_part).with(parts),
    target("log_segment", log_segment),
    target("mesh_certificate", mesh::fuzz::certificate).with(certificates),
    target("mesh_frames", mesh::fuzz::frames),
    target("mesh_opening", mesh::fuzz::opening).with(openings),
    target("netsel_request", api::netsel::fuzz_request),
    target("paxos_batch", paxos::wire::fuzz_batch).with(batches),
    target("paxos_frame", paxos::wire::fuzz_frame).with(frames),
    target("portolan_config", portolan_config),
    target("proxy_first_line", proxy::fuzz::first_line),
    target("proxy_frames", proxy_frames),
    target("proxy_framing", proxy_framing),
    target("proxy_host", |bytes| as_text(bytes, proxy::fuzz::host)),
    target("proxy_path", |bytes| as_text(bytes, proxy::fuzz::canonical_path)),
    target("px_config", px::fuzz::config),
    target("px_records", px::fuzz::records),
    target("relay_answer", relay::http::fuzz_answer),
    target("relay_proxy_header", relay::proxy_header::fuzz),
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

/// A saved state in its outer form, and the tar in it.
fn archives() -> Vec<Vec<u8>> {
    let files: [(&str, &[u8]); 2] = [("meta.json", b"{}"), ("state.bin", &[7; 3000])];
    vec![archive::pack(&files, 1_700_000_000)]
}

/// A token as it is handed over.
fn tokens() -> Vec<Vec<u8>> {
    let wish = cluster::token::Wish::default();
    let addresses = vec!["203.0.113.7:8300".into(), "[2001:db8::7]:8300".into()];
    let made = cluster::token::create("0123456789abcdef", catalog::KeyHash([7; 32]), addresses, &wish, 1);
    vec![survives(made.and_then(|(token, _)| token.reveal())).into_bytes()]
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

/// A log whose only segment is this.
fn log_segment(bytes: &[u8]) {
    let _ = log::solo::fuzz::decode_segment(bytes);
}

/// A log of this checkpoint and no segment.
fn log_checkpoint(bytes: &[u8]) {
    let _ = log::solo::fuzz::decode_checkpoint(bytes);
}

/// A checkpoint and two segments: two lengths, then the three files one after the other.
fn log_chain(bytes: &[u8]) {
    let Some((&[a, b, c, d], files)) = bytes.split_first_chunk() else { return };
    let (checkpoint, segments) = split(files, u16::from_be_bytes([a, b]));
    let (first, second) = split(segments, u16::from_be_bytes([c, d]));
    let _ = log::solo::fuzz::decode_chain(checkpoint, first, second);
}

/// What etcd's gateway says, and a batch of commands.
fn etcd_answers() -> Vec<Vec<u8>> {
    let kv = r#"{"key":"YQ==","mod_revision":"7","version":"2","value":"AQMAAABvbmU="}"#;
    let range = format!(r#"{{"kvs":[{kv}],"more":true,"count":"1"}}"#);
    let watch = format!(r#"{{"result":{{"created":true,"events":[{{"kv":{kv}}}]}}}}"#);
    vec![range.into_bytes(), watch.into_bytes(), b"\x01\x03\0\0\0one".to_vec()]
}

/// What servers say to each other.
fn frames() -> Vec<Vec<u8>> {
    use paxos::{Command, Frame, Gossip, Hello, Identity, ServerId};
    let configuration = paxos::Configuration::new(3, vec![Identity { server: ServerId(7), disk: 9 }], 12);
    let entries = vec![Command(vec![1; 9].into()), Command(vec![].into())];
    let frames = [
        Frame::Hello(Hello { version: 1, disk: 5, configuration: Some(configuration) }),
        Frame::Gossip(Gossip::default()),
        Frame::Forward { hops: 1, commands: entries.clone() },
        Frame::Entries { id: 1, at: 8, entries },
        Frame::Piece { id: 1, index: 9, offset: 0, bytes: vec![3; 7].into(), last: true },
    ];
    frames.iter().map(|frame| survives(frame.encode())).collect()
}

/// The same, as they go over a link.
fn parts() -> Vec<Vec<u8>> {
    let last = |frame: Vec<u8>| [vec![0], frame].concat();
    frames().into_iter().map(last).chain([vec![1, 2, 3], vec![2, 0x92]]).collect()
}

/// What a server that begins writes.
fn batches() -> Vec<Vec<u8>> {
    let me = paxos::Identity { server: paxos::ServerId(1), disk: 2 };
    let mut driver = survives(paxos::Driver::found(me, vec![me], 0, paxos::Setup::default(), 0));
    survives(driver.handle_propose(vec![4; 5].into()));
    let turn = driver.poll_turn().map(|turn| survives(turn.batch().encode()));
    turn.into_iter().chain([survives(driver.image(paxos::Image::restate).encode())]).collect()
}

/// Where it is cut, how much there is room for, then what is read.
fn proxy_frames(bytes: &[u8]) {
    let (numbers, stream) = split(bytes, 4);
    let (numbers, _) = numbers.as_chunks();
    let numbers: Vec<usize> = numbers.iter().map(|number| u16::from_be_bytes(*number).into()).collect();
    if let [cut, most] = numbers[..] {
        proxy::fuzz::frames(stream, cut, most);
    }
}

/// How many reads, where each ends, then what is read.
fn proxy_framing(bytes: &[u8]) {
    let Some((&count, rest)) = bytes.split_first() else { return };
    let (cuts, stream) = split(rest, u16::from(count % 8) * 2);
    let (cuts, _) = cuts.as_chunks();
    let cuts: Vec<usize> = cuts.iter().map(|cut| u16::from_be_bytes(*cut).into()).collect();
    proxy::fuzz::framing(stream, &cuts);
}

/// As far in as there is something to split.
fn split(bytes: &[u8], at: u16) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.len().min(at.into()))
}

fn as_text(bytes: &[u8], run: fn(&str)) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        run(text);
    }
}

/// Durations and sizes as people write them.
fn state_units(bytes: &[u8]) {
    as_text(bytes, |text| {
        drop(state::units::parse_duration(text));
        drop(state::units::parse_size(text));
    });
}

#[expect(clippy::panic, reason = "a broken promise is what the fuzzer looks for")]
fn survives<T, E: Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("what was read cannot be written and read again: {error:?}"),
    }
}

/// Greetings and their answers.
fn openings() -> Vec<Vec<u8>> {
    let purposes = [mesh::hello::Use::Control, mesh::hello::Use::Data, mesh::hello::Use::Flow];
    let hello = |purpose| {
        let speaks = mesh::Speaks::default();
        mesh::hello::Hello { speaks, run: 1, time_ms: 2, purpose, needed: true }.encode()
    };
    let answer = |hello: Vec<u8>| [&[0], &hello[..]].concat();
    purposes.into_iter().flat_map(|purpose| [hello(purpose), answer(hello(purpose))]).collect()
}

/// Certificates with one URI name and with two, made anew: what is in them changes with the library that makes them.
fn certificates() -> Vec<Vec<u8>> {
    let certificate = |uris: &[&str]| {
        let key = rcgen::KeyPair::generate().ok()?;
        let mut params = rcgen::CertificateParams::default();
        let uri = |uri: &&str| (*uri).try_into().ok().map(rcgen::SanType::URI);
        params.subject_alt_names = uris.iter().filter_map(uri).collect();
        params.self_signed(&key).ok().map(|certificate| certificate.der().to_vec())
    };
    let one = "spiffe://blue.example/node/a";
    [certificate(&[one]), certificate(&[one, "spiffe://blue.example/node/b"])].into_iter().flatten().collect()
}
