//! The `address` of a registration: `host:port`, `:port` (the caller's own host), `[v6]:port`.

use std::net::IpAddr;

/// Where a node's entrypoint is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address {
    /// IP address or host name, no brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Address {
    /// Reads an address; an absent or unspecified host is the caller's, as GOST's own plugin does for the
    /// documented `:80`.
    ///
    /// # Errors
    /// One sentence that says what is wrong.
    pub(crate) fn parse(text: &str, caller: IpAddr) -> Result<Address, String> {
        let wrong = |why: &str| Err(format!("address {text:?} {why}"));
        let Some((host, port)) = text.rsplit_once(':') else {
            return wrong("has no port, it reads host:port");
        };
        let Ok(port) = port.parse::<u16>() else { return wrong("has no port between 1 and 65535") };
        if port == 0 {
            return wrong("has port 0, where nobody can connect");
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return wrong("has an IPv6 address without brackets");
        }
        let host = bare.unwrap_or(host);
        if bare.is_some() && host.parse::<std::net::Ipv6Addr>().is_err() {
            return wrong("has no IPv6 address between its brackets");
        }
        let host = match host.parse::<IpAddr>() {
            Ok(ip) if !ip.is_unspecified() => ip.to_string(),
            Ok(_) => caller.to_canonical().to_string(),
            Err(_) if host.is_empty() => caller.to_canonical().to_string(),
            Err(_) => host.to_owned(),
        };
        catalog::validate::address("address", &host).map_err(|invalid| invalid.to_string())?;
        Ok(Address { host, port })
    }

    /// The address as GOST reads it.
    pub(crate) fn show(host: &str, port: u16) -> String {
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_hosts_are_the_callers() {
        let caller: IpAddr = "::ffff:10.0.0.9".parse().unwrap();
        for (text, want) in [
            ("10.42.0.100:80", "10.42.0.100:80"),
            (":80", "10.0.0.9:80"),
            ("0.0.0.0:80", "10.0.0.9:80"),
            ("[::]:80", "10.0.0.9:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            ("gost.example.org:80", "gost.example.org:80"),
        ] {
            let address = Address::parse(text, caller).unwrap();
            assert_eq!(Address::show(&address.host, address.port), want);
        }
    }

    #[test]
    fn what_cannot_be_dialed_is_refused_in_words() {
        for (text, why) in [
            ("", "no port"),
            ("host", "no port"),
            ("host:", "no port"),
            ("host:http", "no port"),
            ("host:0", "port 0"),
            ("host:65536", "no port"),
            ("2001:db8::1:80", "brackets"),
            ("[nonsense]:80", "brackets"),
            ("ho st:80", "neither"),
        ] {
            let error = Address::parse(text, [127, 0, 0, 1].into()).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes: Vec<u8>) {
            crate::fuzz::address(&bytes);
            crate::fuzz::message(&bytes);
        }
    }
}
