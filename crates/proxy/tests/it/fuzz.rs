//! Stable twins of the fuzz targets.

use portolan_proxy::fuzz;
use proptest::prelude::*;

/// Bytes that look like requests more often than chance would have it.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let part = proptest::sample::select(vec![
        "GET / HTTP/1.1\r\n",
        "POST /x HTTP/1.1\r\n",
        "Host: a\r\n",
        "Content-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "\r\n",
        "\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "hello",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "X: \0\r\n",
    ]);
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn first_line(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        fuzz::first_line(&bytes);
    }

    #[test]
    fn host(text in "[a-zA-Z0-9._:\\[\\]\\-]{0,40}") {
        fuzz::host(&text);
    }

    #[test]
    fn any_host(text in any::<String>()) {
        fuzz::host(&text);
    }

    #[test]
    fn canonical_path(text in "/[a/.%2eEfF5cC0;\\\\]{0,30}") {
        fuzz::canonical_path(&text);
    }

    #[test]
    fn any_path(text in any::<String>()) {
        fuzz::canonical_path(&text);
    }

    #[test]
    fn framing(bytes in requests(), cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
        fuzz::framing(&bytes, &cuts);
    }
}
