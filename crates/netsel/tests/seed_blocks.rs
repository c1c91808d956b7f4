//! The four programs of NetSel's own documentation, word for word: they must compile, and they must run.

mod support;

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use netsel::client::ServiceClient;

/// One program with its `main`.
macro_rules! program {
    ($name:ident, $file:literal) => {
        #[allow(dead_code, unused_imports, unused_mut, unused_variables, reason = "as it was published")]
        mod $name {
            include!($file);

            pub(crate) fn run() -> Result<(), String> {
                main().map_err(|error| error.to_string())
            }
        }
    };
}

program!(start_server, "blocks/start_server.rs");
program!(register_service, "blocks/register_service.rs");
program!(basic_server, "blocks/basic_server.rs");
program!(custom_configuration, "blocks/custom_configuration.rs");

/// Runs a program on a thread of its own; its result comes when it ends.
fn spawn(program: fn() -> Result<(), String>) -> mpsc::Receiver<Result<(), String>> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(program()));
    receiver
}

#[test]
fn the_seeds_programs_run_unchanged() {
    if !support::in_own_network("the_seeds_programs_run_unchanged") {
        return;
    }
    // A server that starts and whose `main` then returns ends, and leaves every port free for the next.
    assert_eq!(spawn(basic_server::run).recv_timeout(support::PATIENCE), Ok(Ok(())));
    assert_eq!(spawn(custom_configuration::run).recv_timeout(support::PATIENCE), Ok(Ok(())));
    // One that waits for Ctrl-C serves; a program registers and goes.
    let server = spawn(start_server::run);
    let registered = || spawn(register_service::run).recv_timeout(support::PATIENCE).unwrap();
    let mut tries = 0;
    while let Err(error) = registered() {
        tries += 1;
        assert!(tries < 20, "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert!(server.try_recv().is_err(), "the server goes on");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let registry: SocketAddr = "127.0.0.1:9000".parse().unwrap();
    let found = runtime.block_on(ServiceClient::new(registry, "my-service".into()).look_up()).unwrap();
    assert_eq!(found.map(|(address, _)| address), Some("127.0.0.1:9001".parse().unwrap()));
}
