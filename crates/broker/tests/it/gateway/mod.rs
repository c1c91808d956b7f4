//! The gateway, and clients that no one here wrote.

mod clients;
mod keys;
pub(crate) mod raw;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use catalog::Mode;
use portolan_broker::gateway::Config;

use crate::harness::{Harness, echo};

/// Answers every request with its name.
fn web() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut heard = [0; 4096];
                while stream.read(&mut heard).is_ok_and(|count| count > 0) {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nweb\n");
                }
            });
        }
    });
    address
}

/// A gateway before two services: only `shop` may reach them.
fn guarded(config: Config) -> (Harness, [SocketAddr; 2]) {
    let harness = Harness::start();
    harness.register("web", web());
    harness.register("echo", echo());
    harness.rules(Mode::Enforce, &["allow shop web", "allow shop echo"]);
    let places = harness.gateway(config);
    (harness, places)
}
