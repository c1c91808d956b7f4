//! Stable twins of the fuzz targets: random bytes, and text that is nearly right.

use portolan_api::fuzz;
use proptest::prelude::*;

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        fuzz::filter(&bytes);
        fuzz::register_body(&bytes);
        fuzz::query(&bytes);
    }

    #[test]
    fn nearly_registrations_are_read_or_refused(
        fields in prop::collection::vec(
            (
                prop::sample::select(vec![
                    "ID", "Name", "tags", "Port", "check", "Checks", "meta", "Weights", "tagged_addresses",
                    "TTL", "Interval", "HTTP", "Args", "Kind", "Connect", "Lease", "Service", "Node", "Address",
                ]),
                prop::sample::select(vec![
                    "null", "\"\"", "\"web\"", "80", "-1", "1e99", "[]", "{}", "[\"a\"]", "{\"a\":\"b\"}", "true",
                    "\"10s\"", "[{\"TTL\":\"1s\"}]", "{\"HTTP\":\"x\",\"interval\":1}", "{\"Passing\":0}",
                ]),
            ),
            0..8,
        ),
    ) {
        let pairs: Vec<String> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        fuzz::register_body(format!("{{{}}}", pairs.join(",")).as_bytes());
    }
}
