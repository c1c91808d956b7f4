//! `IPC_NETWORK`: a map from names to URIs, `name uri ;name uri`.
//!
//! Documented is a space before each semicolon and none behind; everybody's spaces are taken here. The last entry
//! of a name wins, as in the original.

/// Longest map, in bytes. Linux gives a variable 128 KiB; the originals, a frame.
pub const LONGEST: usize = 60 * 1024;

/// Where a name leads by this map; `None` when it is not in it.
pub fn lookup<'a>(network: &'a str, name: &str) -> Option<&'a str> {
    entries(network).filter(|(known, _)| *known == name).last().map(|(_, uri)| uri)
}

/// Names with what they lead to, in the order in which they were written. Entries that are no pair are left out.
pub fn entries(network: &str) -> impl Iterator<Item = (&str, &str)> {
    network.split(';').filter_map(|entry| {
        let mut words = entry.split_ascii_whitespace();
        let pair = (words.next()?, words.next()?);
        words.next().is_none().then_some(pair)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybodys_separators_are_taken() {
        for network in [
            "authd tls://a:1/authd ;pongd tcp://b:2/pongd",
            "authd tls://a:1/authd;pongd tcp://b:2/pongd",
            "authd tls://a:1/authd ; pongd tcp://b:2/pongd ;",
            "  authd  tls://a:1/authd\t;\n pongd\ttcp://b:2/pongd  ;;",
        ] {
            assert_eq!(lookup(network, "authd"), Some("tls://a:1/authd"), "{network:?}");
            assert_eq!(lookup(network, "pongd"), Some("tcp://b:2/pongd"), "{network:?}");
            assert_eq!(lookup(network, "pong"), None, "a part of a name is no name");
        }
    }

    #[test]
    fn the_last_entry_wins_and_half_an_entry_is_none() {
        assert_eq!(lookup("a x://1 ;a x://2", "a"), Some("x://2"));
        assert_eq!(lookup("a ;b", "a"), None);
        assert_eq!(lookup("a b c", "a"), None);
        assert_eq!(lookup("", ""), None);
    }
}
