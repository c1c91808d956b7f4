//! Go's durations: `"1m30s"` in text, nanoseconds as a number.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

/// A duration in Consul's JSON. Reads `"10s"` and integer nanoseconds; writes Go's text form. Zero means
/// "not given".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(pub Duration);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    text: String,
    why: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Go's words first: clients look for them.
        write!(f, "invalid duration {:?}: {} (write it like 10s, 1m30s, 500ms)", self.text, self.why)
    }
}

impl std::error::Error for Malformed {}

/// Units by their sign, longest first where one is a prefix of another, with nanoseconds.
const UNITS: [(&str, u64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

impl GoDuration {
    /// True when not given.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// Whole milliseconds; what is shorter but not zero counts as one.
    pub fn as_ms(&self) -> u64 {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if ms == 0 && !self.is_zero() { 1 } else { ms }
    }

    /// From whole milliseconds.
    pub fn from_ms(ms: u64) -> GoDuration {
        GoDuration(Duration::from_millis(ms))
    }

    /// Reads Go's text form: one or more decimal numbers with a unit, `1h2m3.5s`. A bare `0` is allowed.
    ///
    /// # Errors
    /// [`Malformed`]; also for negative ones, because nothing here can last less than no time.
    pub fn parse(text: &str) -> Result<GoDuration, Malformed> {
        let malformed = |why| Malformed { text: text.chars().take(40).collect(), why };
        let mut rest = text.strip_prefix('+').unwrap_or(text);
        if rest.starts_with('-') {
            return Err(malformed("it is negative"));
        }
        if rest == "0" {
            return Ok(GoDuration::default());
        }
        if rest.is_empty() {
            return Err(malformed("it is empty"));
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (amount, after) = nanoseconds(rest).map_err(malformed)?;
            total = total.checked_add(amount).ok_or_else(|| malformed("it is too long"))?;
            rest = after;
        }
        Ok(GoDuration(Duration::from_nanos(total)))
    }
}

/// Reads one number with its unit; what follows is handed back.
fn nanoseconds(text: &str) -> Result<(u64, &str), &'static str> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return Err("a number is missing");
    }
    let (sign, unit) =
        UNITS.iter().find(|(sign, _)| is_unit(rest, sign)).ok_or("a unit is missing or unknown")?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| "it is too long")? };
    let mut total = whole.checked_mul(*unit).ok_or("it is too long")?;
    let mut scale = *unit;
    for digit in fraction.bytes() {
        scale /= 10;
        total = total.checked_add(u64::from(digit - b'0') * scale).ok_or("it is too long")?;
    }
    Ok((total, &rest[sign.len()..]))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}

/// True when `text` begins with this unit and not with a longer one.
fn is_unit(text: &str, sign: &str) -> bool {
    text.strip_prefix(sign)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
}

impl fmt::Display for GoDuration {
    /// As Go's `Duration.String`: `1m30s`, `1h0m0s`, `1.5s`, `500ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let fraction = |f: &mut fmt::Formatter<'_>, unit: u128, sign: &str| {
            let (whole, rest) = (nanos / unit, nanos % unit);
            let width = unit.ilog10() as usize;
            let digits = format!("{rest:0width$}");
            let digits = digits.trim_end_matches('0');
            let dot = if rest == 0 { "" } else { "." };
            write!(f, "{whole}{dot}{}{sign}", if rest == 0 { "" } else { digits })
        };
        match nanos {
            0 => f.write_str("0s"),
            1..1_000 => write!(f, "{nanos}ns"),
            1_000..1_000_000 => fraction(f, 1_000, "µs"),
            1_000_000..1_000_000_000 => fraction(f, 1_000_000, "ms"),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                let rest = Duration::from_nanos((nanos % 60_000_000_000) as u64);
                match rest.subsec_nanos() {
                    0 => write!(f, "{}s", rest.as_secs()),
                    part => {
                        let part = format!("{part:09}");
                        write!(f, "{}.{}s", rest.as_secs(), part.trim_end_matches('0'))
                    }
                }
            }
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DurationVisitor)
    }
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration like \"10s\" or whole nanoseconds")
    }

    fn visit_unit<E: de::Error>(self) -> Result<GoDuration, E> {
        Ok(GoDuration::default())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        if text.is_empty() {
            return Ok(GoDuration::default());
        }
        GoDuration::parse(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, nanos: u64) -> Result<GoDuration, E> {
        Ok(GoDuration(Duration::from_nanos(nanos)))
    }

    fn visit_i64<E: de::Error>(self, nanos: i64) -> Result<GoDuration, E> {
        let nanos = u64::try_from(nanos).map_err(|_| E::custom("a duration must not be negative"))?;
        self.visit_u64(nanos)
    }

    fn visit_f64<E: de::Error>(self, nanos: f64) -> Result<GoDuration, E> {
        if (0.0..9.2e18).contains(&nanos) {
            return self.visit_u64(nanos as u64);
        }
        Err(E::custom("a duration must be between 0 and 292 years of nanoseconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let ms = |text: &str| GoDuration::parse(text).map(|d| d.as_ms());
        assert_eq!(ms("10s"), Ok(10_000));
        assert_eq!(ms("1m30s"), Ok(90_000));
        assert_eq!(ms("1.5h"), Ok(5_400_000));
        assert_eq!(ms("120000ms"), Ok(120_000));
        assert_eq!(ms(".5s"), Ok(500));
        assert_eq!(ms("0"), Ok(0));
        assert_eq!(ms("1µs"), Ok(1), "shorter than a millisecond is still not nothing");
        for bad in ["", "10", "s", "1x", "-1s", "1s2", "1 s", "99999999999h", "1d"] {
            assert!(ms(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn writes_what_go_writes() {
        let text = |nanos| GoDuration(Duration::from_nanos(nanos)).to_string();
        assert_eq!(text(0), "0s");
        assert_eq!(text(1_500), "1.5µs");
        assert_eq!(text(500_000_000), "500ms");
        assert_eq!(text(10_000_000_000), "10s");
        assert_eq!(text(90_500_000_000), "1m30.5s");
        assert_eq!(text(3_600_000_000_000), "1h0m0s");
    }

    proptest! {
        #[test]
        fn reads_what_it_writes(nanos in 0u64..=i64::MAX as u64) {
            let duration = GoDuration(Duration::from_nanos(nanos));
            prop_assert_eq!(GoDuration::parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.a-zµ+-]{0,24}") {
            let _ = GoDuration::parse(&text);
        }
    }
}
