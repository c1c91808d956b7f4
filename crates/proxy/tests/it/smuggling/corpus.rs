//! What is sent: each case is one connection's bytes, and the requests that a careful reader finds in them.
//!
//! `@` stands for the case's own path, so that the service can tell the cases apart. Behind most of them comes a
//! request that must never arrive as one: [`HIDDEN`].

/// A request as the service should see it: method, path below the case's own, body.
pub(super) type Seen = (&'static str, &'static str, &'static str);

pub(super) struct Case {
    pub(super) what: String,
    pub(super) bytes: Vec<u8>,
    /// What may arrive: all of it, or only the beginning when the rest is refused.
    pub(super) may: Vec<Seen>,
    /// All of it must arrive.
    pub(super) must: bool,
}

const HIDDEN: &str = "GET @/hidden HTTP/1.1\r\nHost: web\r\n\r\n";
const LAST: &str = "GET @/last HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
const SEEN_LAST: Seen = ("GET", "/last", "");

/// Refused, or understood only as far as `may` says.
fn refused(what: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    Case { what: what.into(), bytes: bytes.into(), may: vec![], must: false }
}

fn passed(what: impl Into<String>, text: String, may: Vec<Seen>) -> Case {
    Case { what: what.into(), bytes: (text + LAST).into(), may: [may, vec![SEEN_LAST]].concat(), must: true }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST @/a HTTP/1.1\r\nHost: web\r\n{fields}\r\n{body}")
}

fn get(fields: &str) -> String {
    format!("GET @/a HTTP/1.1\r\nHost: web\r\n{fields}\r\n")
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    [lengths(), codings(), both(), chunks(), lines(), bytes(), request_lines(), hosts(), fields(), pairs()]
        .into_iter()
        .flatten()
        .collect()
}

fn lengths() -> Vec<Case> {
    let bad = [
        "+4",
        "-4",
        "-0",
        "0x4",
        "4.",
        "4.0",
        "4e0",
        "4 4",
        "4,4",
        "4, 4",
        "4;",
        "\"4\"",
        "",
        " ",
        "\t",
        "four",
        "4\x0b",
        "4\x0c",
        "\u{661}",
        "99999999999999999999",
        "18446744073709551616",
        "4_0",
        "1 0",
        "%34",
        "0 4",
    ];
    let bad = bad.iter().map(|value| {
        refused(format!("length {value:?}"), post(&format!("Content-Length: {value}\r\n"), "abcd") + HIDDEN)
    });
    let pairs =
        [("4", "4"), ("4", "5"), ("0", "4"), ("4", "0"), ("4", ""), ("4", "+4")].iter().map(|(a, b)| {
            let fields = format!("Content-Length: {a}\r\nContent-Length: {b}\r\n");
            refused(format!("lengths {a:?} and {b:?}"), post(&fields, "abcd") + HIDDEN)
        });
    let good = ["4", "04", " 4", "\t4\t", "4 "].iter().map(|value| {
        let text = post(&format!("Content-Length:{value}\r\n"), "abcd");
        passed(format!("length {value:?}"), text, vec![("POST", "/a", "abcd")])
    });
    bad.chain(pairs).chain(good).collect()
}

fn codings() -> Vec<Case> {
    let bad = [
        "",
        " ",
        "identity",
        "gzip",
        "xchunked",
        "chunkedx",
        "chunked, gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chun\tked",
        "\x0bchunked",
        "chunked\x0b",
        "chunked\x00",
        "identity, chunked",
        "chunked, identity",
        "compress",
        "deflate",
        "x, chunked",
        "chu\u{212a}ed",
    ];
    let bad = bad.iter().map(|value| {
        let fields = format!("Transfer-Encoding: {value}\r\n");
        refused(format!("coding {value:?}"), post(&fields, "0\r\n\r\n") + HIDDEN)
    });
    let names = [
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        " Transfer-Encoding",
        "Transfer\u{2010}Encoding",
        "Transfer-Encoding\x00",
        "Transfer-Encoding:",
        "\x0bTransfer-Encoding",
        "Transfer Encoding",
        "[Transfer-Encoding",
        "Transfer-Encoding\r",
        "\"Transfer-Encoding\"",
    ];
    let names = names.iter().map(|name| {
        let fields = format!("{name}: chunked\r\nContent-Length: 5\r\n");
        refused(format!("name {name:?}"), post(&fields, "0\r\n\r\n") + HIDDEN)
    });
    let cases = ["chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"].iter().map(|value| {
        let text = post(&format!("Transfer-Encoding:{value}\r\n"), "4\r\nabcd\r\n0\r\n\r\n");
        passed(format!("coding {value:?}"), text, vec![("POST", "/a", "abcd")])
    });
    let old = refused(
        "a coding in HTTP/1.0",
        "POST @/a HTTP/1.0\r\nHost: web\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned() + HIDDEN,
    );
    bad.chain(names).chain(cases).chain([old]).collect()
}

fn both() -> Vec<Case> {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let fields = [
        format!("Content-Length: 4\r\n{chunked}"),
        format!("{chunked}Content-Length: 4\r\n"),
        format!("Content-Length: 0\r\n{chunked}"),
        format!("{chunked}{chunked}"),
        format!("{chunked}Transfer-Encoding: identity\r\n"),
        format!("Transfer-Encoding: identity\r\n{chunked}"),
        format!("Transfer-Encoding: x\r\n{chunked}Content-Length: 4\r\n"),
        "Transfer-Encoding: chunked\r\n , gzip\r\n".to_owned(),
        "Transfer-Encoding:\r\n chunked\r\n".to_owned(),
        "Content-Length: 4\r\n 0\r\n".to_owned(),
    ];
    let fields = fields.iter().map(|f| refused(format!("both {f:?}"), post(f, "0\r\n\r\n") + HIDDEN));
    // A look-alike that some servers read as the real one never arrives beside it.
    let aliases =
        ["Content_Length: 0", "Transfer_Encoding: chunked", "content_length: 99"].iter().map(|alias| {
            let text = post(&format!("{alias}\r\nContent-Length: 4\r\n"), "abcd");
            passed(format!("alias {alias:?}"), text, vec![("POST", "/a", "abcd")])
        });
    fields.chain(aliases).collect()
}

fn chunks() -> Vec<Case> {
    let bad = [
        "",
        " 4",
        "4 ",
        "+4",
        "-4",
        "0x4",
        "4h",
        "g",
        "4\x0b",
        "4\t",
        "4 ;",
        "4;\x00",
        "4;a\x7f",
        "00000000000000004",
        "ffffffffffffffff",
        "10000000000000000",
        "4,4",
        "4\r",
        "\"4\"",
        "4;a=\"\x01\"",
    ];
    let head = "Transfer-Encoding: chunked\r\n";
    let bad = bad.iter().filter(|size| **size != "4 ;").map(|size| {
        let case = format!("{size}\r\nabcd\r\n0\r\n\r\n");
        refused(format!("chunk size {size:?}"), post(head, &case) + HIDDEN)
    });
    let bodies = [
        "4\nabcd\r\n0\r\n\r\n",
        "4\r\nabcd\n0\r\n\r\n",
        "4\r\nabcd0\r\n\r\n",
        "4\r\nabcde\r\n0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0\r\n\n",
        "4\r\nabcd\r\n0\n\r\n",
        "4\r\nabcd\r\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0\r\nContent-Length: 9\r\n\r\n",
        "4\r\nabcd\r\n0\r\nHost: other\r\n\r\n",
        "4\r\nabcd\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
        "4\r\nabcd\r\n0\r\n x: folded\r\n\r\n",
        "4\r\nabcd\r\n0\r\nno colon\r\n\r\n",
        "4\r\nabcd\r\n0\r\nX: \x00\r\n\r\n",
    ];
    let bodies = bodies.iter().map(|body| refused(format!("chunks {body:?}"), post(head, body) + HIDDEN));
    let good = [
        "4\r\nabcd\r\n0\r\n\r\n",
        "2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n",
        "04\r\nabcd\r\n00\r\n\r\n",
        "4;a=b\r\nabcd\r\n0;c\r\n\r\n",
        "4 ;a\r\nabcd\r\n0\r\n\r\n",
        "4\r\nabcd\r\n0\r\nX-Sum: 1\r\n\r\n",
    ];
    let good = good
        .iter()
        .map(|body| passed(format!("chunks {body:?}"), post(head, body), vec![("POST", "/a", "abcd")]));
    bad.chain(bodies).chain(good).collect()
}

fn lines() -> Vec<Case> {
    let whole = post("X: y\r\nContent-Length: 4\r\n", "abcd");
    let ends: Vec<usize> = whole.match_indices("\r\n").map(|(at, _)| at).collect();
    let others = ["\n", "\r", "\n\r", "\r\r\n", "\x00\r\n", "\x0b", "\x0c"];
    let all = ends.iter().flat_map(|at| others.iter().map(move |other| (*at, *other)));
    all.map(|(at, other)| {
        let text = format!("{}{other}{}", &whole[..at], &whole[at + 2..]);
        refused(format!("{other:?} instead of an end of line at {at}"), text + HIDDEN)
    })
    .collect()
}

/// Every control character, in a name, in a value and in a target.
fn bytes() -> Vec<Case> {
    let controls = (0..0x20u8).chain([0x7f]);
    let in_value = controls.clone().filter(|byte| !matches!(byte, b'\t' | b'\n')).map(|byte| {
        let mut bytes = get("X: a?b\r\n").into_bytes();
        let at = bytes.iter().rposition(|byte| *byte == b'?').unwrap();
        bytes[at] = byte;
        refused(format!("byte {byte} in a value"), [bytes, HIDDEN.into()].concat())
    });
    let names =
        controls.clone().chain(*b" \"(),/;<=>?@[\\]{}").chain([0x80, 0xff]).filter(|byte| *byte != b'\n');
    let in_name = names.map(|byte| {
        let mut bytes = get("X?Y: z\r\n").into_bytes();
        let at = bytes.iter().rposition(|byte| *byte == b'?').unwrap();
        bytes[at] = byte;
        // The stand-in for the case's path is no use in a name.
        refused(format!("byte {byte} in a name"), [bytes, HIDDEN.into()].concat())
    });
    let in_target = controls.chain([b' ', 0x80, 0xff]).map(|byte| {
        let mut bytes = b"GET @/a?b HTTP/1.1\r\nHost: web\r\n\r\n".to_vec();
        bytes[7] = byte;
        refused(format!("byte {byte} in a target"), [bytes, HIDDEN.into()].concat())
    });
    let tab = passed("a tab in a value", get("X: a\tb\r\n"), vec![("GET", "/a", "")]);
    in_value.chain(in_name).chain(in_target).chain([tab]).collect()
}

fn request_lines() -> Vec<Case> {
    let bad = [
        "GET",
        "GET ",
        "GET @/a",
        "GET  @/a HTTP/1.1",
        "GET @/a  HTTP/1.1",
        " GET @/a HTTP/1.1",
        "GET\t@/a HTTP/1.1",
        "GET @/a HTTP/1.1 ",
        "GET @/a HTTP/1.1 x",
        "GET @/a HTTP/1.2",
        "GET @/a HTTP/2.0",
        "GET @/a HTTP/0.9",
        "GET @/a HTTP/01.1",
        "GET @/a http/1.1",
        "GET @/a HTTP/1.1.1",
        "GET @/a XTTP/1.1",
        "GET @/a HTTP/ 1.1",
        "G ET @/a HTTP/1.1",
        "G\x00T @/a HTTP/1.1",
        "GET: @/a HTTP/1.1",
        "\x16\x03\x01 @/a HTTP/1.1",
        "CONNECT web:80 HTTP/1.1",
        "GET http://other@/a HTTP/1.1",
        "PRI * HTTP/2.0",
        "GET @/a HTTP/1.1\x00",
        "(GET) @/a HTTP/1.1",
        "GET \"@/a\" HTTP/1.1",
    ];
    let bad = bad
        .iter()
        .map(|line| refused(format!("line {line:?}"), format!("{line}\r\nHost: web\r\n\r\n{HIDDEN}")));
    let empty = refused("two empty lines first", format!("\r\n\r\n{}", get("")) + HIDDEN);
    let one = passed("one empty line first", format!("\r\n{}", get("")), vec![("GET", "/a", "")]);
    let own = passed(
        "a method of one's own",
        "BREW @/a HTTP/1.1\r\nHost: web\r\n\r\n".into(),
        vec![("BREW", "/a", "")],
    );
    bad.chain([empty, one, own]).collect()
}

fn hosts() -> Vec<Case> {
    let bad = [
        "",
        " ",
        "web other",
        "web,other",
        "web/",
        "web/a",
        "web#a",
        "web?a",
        "web\\a",
        "user@web",
        "user:pw@web",
        "web:port",
        "web:-1",
        "web:99999",
        "web:80:80",
        "[web]",
        "[::1",
        "::1]",
        "web..other",
        ".web",
        "we\x00b",
        "web\x0b",
        "w%65b",
        "\"web\"",
        "web;a",
    ];
    let bad = bad.iter().map(|host| {
        refused(format!("host {host:?}"), format!("GET @/a HTTP/1.1\r\nHost: {host}\r\n\r\n{HIDDEN}"))
    });
    let more = [
        get("Host: web\r\n"),
        get("Host: other\r\n"),
        get("host: other\r\n"),
        get("HOST: web\r\n"),
        "GET @/a HTTP/1.1\r\n\r\n".to_owned(),
        "GET @/a HTTP/1.1\r\nX-Host: web\r\n\r\n".to_owned(),
        "GET @/a HTTP/1.1\r\nHost : web\r\n\r\n".to_owned(),
    ];
    let more = more.into_iter().map(|text| refused(format!("{text:?}"), text + HIDDEN));
    let good = ["web", "WEB", "web:80", "web:", "web."].iter().map(|host| {
        let text = format!("GET @/a HTTP/1.1\r\nHost: {host}\r\n\r\n");
        passed(format!("host {host:?}"), text, vec![("GET", "/a", "")])
    });
    bad.chain(more).chain(good).collect()
}

/// Fields that speak of the connection: they are not passed on, and cost a request nothing.
fn fields() -> Vec<Case> {
    let dropped = [
        "Connection: keep-alive\r\n",
        "Connection: x-a\r\nX-A: 1\r\n",
        "Connection: content-length\r\n",
        "Connection: host\r\n",
        "Connection: transfer-encoding, te\r\n",
        "TE: chunked\r\n",
        "Keep-Alive: timeout=5\r\n",
        "Proxy-Connection: close\r\n",
        "Upgrade: h2c\r\nConnection: upgrade\r\n",
        "Upgrade: x\r\n",
        "X_Forwarded_For: 1.2.3.4\r\n",
        "X-Forwarded-For: 1.2.3.4\r\n",
        "Forwarded: for=1.2.3.4\r\n",
    ];
    let bodies = dropped.iter().map(|fields| {
        let text = post(&format!("{fields}Content-Length: 4\r\n"), "abcd");
        passed(format!("a body and {fields:?}"), text, vec![("POST", "/a", "abcd")])
    });
    let plain =
        dropped.iter().map(|fields| passed(format!("{fields:?}"), get(fields), vec![("GET", "/a", "")]));
    let expectation = refused("an expectation", get("Expect: 200-ok\r\n") + HIDDEN);
    bodies.chain(plain).chain([expectation]).collect()
}

/// Two requests at once are two, whatever stands between them.
fn pairs() -> Vec<Case> {
    let second = "GET @/b HTTP/1.1\r\nHost: web\r\n\r\n";
    let seen_second: Seen = ("GET", "/b", "");
    let chunked = post("Transfer-Encoding: chunked\r\n", "4\r\nabcd\r\n0\r\n\r\n");
    let inner: &str = "GET /x HTTP/1.1\r\n\r\n";
    vec![
        passed("two", get("") + second, vec![("GET", "/a", ""), seen_second]),
        passed(
            "a body and another",
            post("Content-Length: 4\r\n", "abcd") + second,
            vec![("POST", "/a", "abcd"), seen_second],
        ),
        passed("chunks and another", chunked + second, vec![("POST", "/a", "abcd"), seen_second]),
        passed("no length at all", post("", "") + second, vec![("POST", "/a", ""), seen_second]),
        passed(
            "a request as a body",
            post(&format!("Content-Length: {}\r\n", inner.len()), inner),
            vec![("POST", "/a", inner)],
        ),
        passed(
            "a body of GET",
            "GET @/a HTTP/1.1\r\nHost: web\r\nContent-Length: 4\r\n\r\nabcd".into(),
            vec![("GET", "/a", "abcd")],
        ),
        passed(
            "a plain one, an odd one, a plain one",
            get("") + &post("Content-Length: 4\r\n", "abcd") + second,
            vec![("GET", "/a", ""), ("POST", "/a", "abcd"), seen_second],
        ),
    ]
}
