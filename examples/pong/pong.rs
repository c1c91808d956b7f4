//! The pong service and its client.
//!
//! ```sh
//! portolan run pongd --listen -- cargo run -p portolan-client --example pong serve
//! cargo run -p portolan-client --example pong [NAME]      # NAME is pongd, or a URI
//! ```

use std::error::Error;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use portolan_client::broker;

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("serve") => serve(),
        name => ask(name.unwrap_or("pongd")),
    }
}

fn serve() -> Result<(), Box<dyn Error>> {
    let listener = broker::listener().ok_or("nobody handed a socket over: start it with `portolan run`")?;
    for connection in std::net::TcpListener::from(listener).incoming() {
        let mut connection = connection?;
        let mut said = [0; 4096];
        while let Ok(length @ 1..) = connection.read(&mut said) {
            let answer = String::from_utf8_lossy(&said[..length]).replace("ping", "pong");
            connection.write_all(answer.as_bytes())?;
        }
    }
    Ok(())
}

fn ask(name: &str) -> Result<(), Box<dyn Error>> {
    let broker = broker::Broker::find().ok_or("there is no broker here")?;
    // Reads and writes are the same for every kind of socket.
    let mut stream = TcpStream::from(broker.connect(name)?.0);
    stream.write_all(b"ping\n")?;
    let mut said = [0; 4096];
    let length = stream.read(&mut said)?;
    std::io::stdout().write_all(&said[..length])?;
    Ok(())
}
