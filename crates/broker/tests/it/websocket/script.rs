//! Reads `cases.txt`, writes a client's frames and reads a server's: by the RFC, and by nothing that is tested.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking, like tests")]

pub(super) struct Case {
    pub(super) name: String,
    pub(super) frames: Vec<Vec<u8>>,
    /// True when the client ends the stream then.
    pub(super) ends: bool,
    pub(super) hears: Vec<String>,
}

pub(super) fn cases(text: &str) -> Vec<Case> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(case).collect()
}

fn case(line: &str) -> Case {
    let [name, sends, hears] =
        line.split(" | ").collect::<Vec<_>>().try_into().unwrap_or_else(|_| panic!("{line}"));
    let frames = sends.split(' ').filter(|word| *word != "end").map(frame).collect();
    let ends = sends.ends_with(" end");
    let hears = hears.split(' ').map(|word| match word.split_once(':') {
        Some((kind, payload)) => shown(kind, &payload_of(kind, payload)),
        None => word.to_owned(),
    });
    Case { name: name.to_owned(), frames, ends, hears: hears.collect() }
}

/// What is heard is compared as text, long payloads by their length and ends.
fn shown(kind: &str, payload: &[u8]) -> String {
    match payload {
        [high, low, ..] if kind == "close" => format!("close:{}", u16::from_be_bytes([*high, *low])),
        [] => format!("{kind}:"),
        payload if payload.len() > 300 => {
            let sum =
                payload.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            format!("{kind}: {} bytes, {sum:x}", payload.len())
        }
        payload => format!("{kind}:{}", payload.escape_ascii()),
    }
}

fn payload_of(kind: &str, text: &str) -> Vec<u8> {
    if kind != "close" {
        return bytes(text);
    }
    let (code, reason) = text.split_once('/').unwrap_or((text, ""));
    let code = if code.is_empty() { vec![] } else { code.parse::<u16>().unwrap().to_be_bytes().to_vec() };
    [code, bytes(reason)].concat()
}

fn bytes(text: &str) -> Vec<u8> {
    if let Some((count, rest)) = text.split_once('*')
        && let Ok(count) = count.parse()
    {
        return bytes(rest).repeat(count);
    }
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let taken = match rest.strip_prefix('\\') {
            Some(escaped) if escaped.starts_with('s') => {
                bytes.push(b' ');
                2
            }
            Some(escaped) => {
                bytes.push(u8::from_str_radix(&escaped[1..3], 16).unwrap());
                4
            }
            None => {
                bytes.extend_from_slice(first.to_string().as_bytes());
                first.len_utf8()
            }
        };
        rest = &rest[taken..];
    }
    bytes
}

const KINDS: [(&str, u8); 6] =
    [("cont", 0), ("text", 1), ("bin", 2), ("close", 8), ("ping", 9), ("pong", 10)];

fn frame(word: &str) -> Vec<u8> {
    let (head, text) = word.split_once(':').unwrap_or_else(|| panic!("{word}"));
    if head == "raw" {
        return bytes(text);
    }
    let (before, kind) = head.rsplit_once('.').unwrap_or((" ", head));
    let opcode = KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map_or_else(|| kind[2..].parse().unwrap(), |(_, number)| *number);
    let is_final = if before.is_empty() { 0 } else { 0x80 };
    let reserved: u8 = before.strip_prefix('r').map_or(0, |bits| bits.parse().unwrap());
    let (is_bare, is_wide) = (before == "bare", before == "wide");
    let mut payload = payload_of(kind, text);
    let mut frame = vec![is_final | (reserved << 4) | opcode];
    let masked = if is_bare { 0 } else { 0x80 };
    match payload.len() {
        length @ 0..126 if !is_wide => frame.push(masked | length as u8),
        length @ 0..65536 => {
            frame.push(masked | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(masked | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    if !is_bare {
        let key = [0x12, 0xab, 0x00, 0x7f];
        frame.extend_from_slice(&key);
        payload.iter_mut().zip(key.iter().cycle()).for_each(|(byte, key)| *byte ^= key);
    }
    frame.extend_from_slice(&payload);
    frame
}

/// The frames of a server that are all there, up to its close.
pub(super) fn heard(mut bytes: &[u8]) -> Vec<String> {
    let mut told = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        assert_eq!((first & 0x70, second & 0x80), (0, 0), "reserved bits or a mask from a server");
        let wide = |count: usize| {
            let number = rest.get(..count)?.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
            Some((number as usize, &rest[count..]))
        };
        let sized = match second {
            126 => wide(2),
            127 => wide(8),
            short => Some((usize::from(*short), rest)),
        };
        let Some((payload, rest)) = sized.and_then(|(length, rest)| rest.split_at_checked(length)) else {
            break;
        };
        let (kind, _) = KINDS.iter().find(|(_, number)| *number == first & 0x0f).unwrap();
        assert_ne!(first & 0x80, 0, "the echo writes messages in one frame");
        told.push(shown(kind, payload));
        if *kind == "close" {
            break;
        }
        bytes = rest;
    }
    told
}
