//! Durations and sizes as people write them in a configuration: `"10s"`, `"1m30s"`, `"64MiB"`.
//!
//! [`duration`] and [`size`] are made for `#[serde(with = "state::units::duration")]`, so that every crate's
//! `Config` keeps plain `Duration` and `u64` fields and all of them read alike.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Text that is not a duration or a size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a duration.
    #[error(
        "\"{0}\" is not a duration: write numbers with units, like \"500ms\", \"10s\", \"1m30s\", \"24h\""
    )]
    Duration(String),
    /// Not a size.
    #[error(
        "\"{0}\" is not a size: write a number with a unit, like \"512B\", \"64KiB\", \"64MiB\", \"1GiB\""
    )]
    Size(String),
}

/// From the largest to the smallest, in nanoseconds.
const TIMES: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// From the largest to the smallest. Decimal units are read too, see [`parse_size`].
const SIZES: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DECIMAL_SIZES: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)];

/// Reads `"1m30s"`. Numbers without a unit are refused, except `"0"`: nobody should have to guess.
///
/// # Errors
/// [`UnitError::Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let broken = || UnitError::Duration(text.chars().take(40).collect());
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text;
    let mut nanos = 0u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let letters = rest[digits..].bytes().take_while(u8::is_ascii_lowercase).count();
        let number: u64 = rest[..digits].parse().map_err(|_| broken())?;
        let unit = &rest[digits..digits + letters];
        let (_, scale) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(broken)?;
        let part = number.checked_mul(*scale).ok_or_else(broken)?;
        nanos = nanos.checked_add(part).ok_or_else(broken)?;
        rest = &rest[digits + letters..];
    }
    if text.is_empty() { Err(broken()) } else { Ok(Duration::from_nanos(nanos)) }
}

/// Reads `"64MiB"`, also `"64MB"` (powers of ten) and `"0"`.
///
/// # Errors
/// [`UnitError::Size`].
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let broken = || UnitError::Size(text.chars().take(40).collect());
    if text == "0" {
        return Ok(0);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().map_err(|_| broken())?;
    let unit = text[digits..].trim_start();
    let (_, scale) = SIZES.iter().chain(&DECIMAL_SIZES).find(|(name, _)| *name == unit).ok_or_else(broken)?;
    number.checked_mul(*scale).ok_or_else(broken)
}

/// Shows a duration so that [`parse_duration`] reads it again.
pub struct ShowDuration(pub Duration);

impl fmt::Display for ShowDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, scale) in TIMES {
            if rest >= scale {
                write!(f, "{}{unit}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

/// Shows a size in the largest binary unit that divides it.
pub struct ShowSize(pub u64);

impl fmt::Display for ShowSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZES.iter().find(|(_, scale)| self.0.is_multiple_of(*scale) && self.0 >= *scale);
        let (unit, scale) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

/// A duration inside a list or a map, where no attribute reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(#[serde(with = "duration")] pub Duration);

/// `#[serde(with = "state::units::duration")]` for a `Duration`.
pub mod duration {
    use super::{Duration, ShowDuration, parse_duration};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    /// Writes `"10s"`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&ShowDuration(*value))
    }

    /// Reads `"10s"`.
    ///
    /// # Errors
    /// When it is not a duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        parse_duration(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// `#[serde(with = "state::units::size")]` for a `u64` that counts bytes.
pub mod size {
    use super::{ShowSize, parse_size};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::borrow::Cow;

    /// Writes `"64MiB"`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(value: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&ShowSize(*value))
    }

    /// Reads `"64MiB"`.
    ///
    /// # Errors
    /// When it is not a size.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse_size(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_shown_alike() {
        for text in ["0s", "1ns", "500ms", "10s", "1m30s", "1d", "2h5ms"] {
            let read = parse_duration(text).unwrap();
            assert_eq!(ShowDuration(read).to_string(), text);
        }
        assert_eq!(parse_duration("90s").unwrap(), Duration::from_secs(90));
    }

    #[test]
    fn a_duration_without_a_unit_is_refused() {
        for text in ["", "10", "s", "10 s", "-1s", "1.5s", "10S", "99999999999999999999s", "1y"] {
            assert!(parse_duration(text).is_err(), "{text:?} was read");
        }
    }

    #[test]
    fn sizes_are_read_and_shown_alike() {
        for text in ["0B", "512B", "64KiB", "64MiB", "3GiB", "1000B"] {
            assert_eq!(ShowSize(parse_size(text).unwrap()).to_string(), text);
        }
        assert_eq!(parse_size("64MB").unwrap(), 64_000_000);
        for text in ["", "64", "MiB", "64 mib", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text:?} was read");
        }
    }
}
