//! When a certificate begins and ends to count: X.509's field, read out of DER (RFC 5280 section 4.1.2.5).

/// Seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// From then on.
    pub from: i64,
    /// Until then.
    pub until: i64,
}

impl Validity {
    /// When a third of its life is left.
    pub fn renew_at(&self) -> i64 {
        self.until - (self.until - self.from).max(0) / 3
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// The validity of a certificate; `None` for what is none.
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (whole, _) = element(certificate, SEQUENCE)?;
    let (mut body, _) = element(whole, SEQUENCE)?;
    if body.first() == Some(&VERSION) {
        body = element(body, VERSION)?.1;
    }
    for tag in [INTEGER, SEQUENCE, SEQUENCE] {
        // Serial number, algorithm, issuer.
        body = element(body, tag)?.1;
    }
    let (times, _) = element(body, SEQUENCE)?;
    let (from, rest) = time(times)?;
    let (until, _) = time(rest)?;
    Some(Validity { from, until })
}

/// The content of an element with this tag, and what comes after it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match length {
        short @ 0..=0x7f => (usize::from(*short), rest),
        // Four bytes of length are more than any certificate has.
        long @ 0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// A time, always of Greenwich and with seconds.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, century) = match bytes.first()? {
        &UTC_TIME => {
            let (text, rest) = element(bytes, UTC_TIME)?;
            (text, rest, if *text.first()? >= b'5' { 1900 } else { 2000 })
        }
        _ => {
            let (text, rest) = element(bytes, GENERALIZED_TIME)?;
            (text.get(2..)?, rest, 100 * i64::from(number(text.get(..2)?)?))
        }
    };
    let [year, month, day, hour, minute, second] = numbers(text)?;
    let days = days(century + year, month, day);
    Some((((days * 24 + hour) * 60 + minute) * 60 + second, rest))
}

fn numbers(text: &[u8]) -> Option<[i64; 6]> {
    let digits = text.strip_suffix(b"Z").filter(|digits| digits.len() == 12)?;
    let mut numbers = [0; 6];
    for (number_at, pair) in numbers.iter_mut().zip(digits.chunks(2)) {
        *number_at = number(pair)?.into();
    }
    Some(numbers)
}

fn number(pair: &[u8]) -> Option<u8> {
    let digit = |at: usize| pair.get(at).filter(|digit| digit.is_ascii_digit()).map(|digit| digit - b'0');
    Some(digit(0)? * 10 + digit(1)?)
}

/// Days since 1970 in the Gregorian calendar, with years that begin in March.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + of_year - 719_468
}

/// Fuzz target: anything may be handed in.
pub fn fuzz_validity(bytes: &[u8]) {
    if let Some(found) = validity(bytes) {
        let _ = found.renew_at();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2026, 11, 21), 20_778);
    }

    #[test]
    fn the_validity_of_a_certificate_is_found() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 11, 1);
        params.not_after = rcgen::date_time_ymd(2055, 1, 2);
        let made = params.self_signed(&key).unwrap();
        let found = validity(made.der()).unwrap();
        assert_eq!(found, Validity { from: 20_758 * 86_400, until: days(2055, 1, 2) * 86_400 });
        assert!(found.renew_at() < found.until && found.renew_at() > found.from);
        for end in 0..made.der().len().min(200) {
            fuzz_validity(&made.der()[..end]);
        }
        assert_eq!(validity(b"no certificate"), None);
    }
}
