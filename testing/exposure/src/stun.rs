//! A host outside that tells what it sees.

use peers::Running;

use crate::LIMIT;
use crate::home::{Fallible, Home};

/// A server of RFC 8489 that knows the binding request alone.
pub struct Stun {
    _server: Running,
}

const PROGRAM: &str = "import socket, struct
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(('45.83.0.2', 3478))
print('ready', flush=True)
while True:
    data, (ip, port) = s.recvfrom(2048)
    if len(data) < 20: continue
    plain = struct.unpack('!I', socket.inet_aton(ip))[0] ^ 0x2112a442
    value = struct.pack('!BBHI', 0, 1, port ^ 0x2112, plain)
    s.sendto(struct.pack('!HH', 0x0101, 12) + data[4:20] + struct.pack('!HH', 0x0020, 8) + value, (ip, port))";

impl Stun {
    /// Where it listens.
    pub const ADDRESS: &'static str = "45.83.0.2:3478";

    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// What it said.
    pub fn start(home: &Home) -> Fallible<Stun> {
        let mut server = Running::start(home.outside("python3").args(["-c", PROGRAM]))?;
        let table = || home.outside("cat").arg("/proc/net/udp").output();
        server.wait_until(LIMIT, "the STUN server to listen", || {
            // 3478
            table().is_ok_and(|out| String::from_utf8_lossy(&out.stdout).contains(":0D96 "))
        })?;
        Ok(Stun { _server: server })
    }
}
