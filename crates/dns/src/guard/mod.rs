//! What keeps this server from being turned against others: cookies tell who really asked, and everybody else
//! gets so many answers a second and no more.
//!
//! A datagram's sender can be forged, and then its answer hits whoever the sender pretends to be. A client on this
//! host cannot be hit that way, nor one that came by TCP, nor one that shows a cookie of ours.

pub(crate) mod cookie;
pub(crate) mod limit;
mod siphash;

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Config;
use cookie::{Cookie, Jar, Served};
use limit::{Limiter, Verdict};

/// Both guards.
#[derive(Debug)]
pub(crate) struct Guard {
    jar: Option<Jar>,
    limiter: Option<Limiter>,
}

/// What the clock says, read once for a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Now {
    /// Microseconds since 1970.
    pub(crate) micros: u64,
}

impl Now {
    pub(crate) fn read() -> Now {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { micros: u64::try_from(since.as_micros()).unwrap_or(u64::MAX) }
    }

    /// Seconds since 1970 as cookies count them: 32 bits that wrap around (RFC 9018 section 4.3).
    pub(crate) fn seconds(self) -> u32 {
        (self.micros / 1_000_000) as u32
    }
}

impl Guard {
    pub(crate) fn new(config: &Config) -> Guard {
        Guard {
            jar: config.cookies.enabled.then(|| Jar::new(&config.cookies.secrets)),
            limiter: Limiter::new(&config.rate_limit),
        }
    }

    /// What the answer to a client with this cookie carries; `None` when cookies are off.
    pub(crate) fn serve(&self, cookie: &Cookie, from: IpAddr, now: Now) -> Option<Served> {
        self.jar.as_ref().map(|jar| jar.serve(cookie, from, now.seconds()))
    }

    /// Whether a datagram that seems to come from `from` is answered.
    pub(crate) fn judge(&self, from: IpAddr, now: Now) -> Verdict {
        self.limiter.as_ref().map_or(Verdict::Answer, |limiter| limiter.judge(from, now))
    }
}
