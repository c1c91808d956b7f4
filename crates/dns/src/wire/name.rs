//! Names in lower case, with their labels found.

/// Longest name on the wire without the root label (RFC 1035 section 2.3.4 allows 255 with it).
pub(crate) const MAX_NAME: usize = 254;
/// Most labels in a name, the root not counted.
pub(crate) const MAX_LABELS: usize = 127;

/// A name: labels with their length bytes, lower case, without the root.
#[derive(Clone)]
pub(crate) struct LowerName {
    bytes: [u8; MAX_NAME],
    length: u8,
    starts: [u8; MAX_LABELS],
    labels: u8,
}

/// Why bytes are not a name that the fast path reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameError {
    /// A compression pointer, or another reserved label type.
    NotPlain,
    /// Ends early or is too long.
    Malformed,
}

impl Default for LowerName {
    fn default() -> Self {
        LowerName { bytes: [0; MAX_NAME], length: 0, starts: [0; MAX_LABELS], labels: 0 }
    }
}

impl LowerName {
    /// Reads an uncompressed name at the start of `wire`; returns how many bytes it took there.
    pub(crate) fn read(&mut self, wire: &[u8]) -> Result<usize, NameError> {
        let mut at = 0;
        self.labels = 0;
        loop {
            let length = usize::from(*wire.get(at).ok_or(NameError::Malformed)?);
            if length == 0 {
                break;
            }
            if length > 63 {
                return Err(NameError::NotPlain);
            }
            let end = at + 1 + length;
            if end > MAX_NAME || end > wire.len() {
                return Err(NameError::Malformed);
            }
            self.starts[usize::from(self.labels)] = at as u8;
            self.labels += 1;
            at = end;
        }
        // Length bytes are below 64 and no letter is: the whole run can be lowered at once.
        self.bytes[..at].copy_from_slice(&wire[..at]);
        self.bytes[..at].make_ascii_lowercase();
        self.length = at as u8;
        Ok(at + 1)
    }

    /// From text such as `svc.internal`, empty for the root. `None` when it is no name.
    pub(crate) fn parse(text: &str) -> Option<LowerName> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.trim_end_matches('.').split('.').filter(|_| !text.is_empty()) {
            if label.is_empty() || label.len() > 63 {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        let mut name = LowerName::default();
        name.read(&wire).ok()?;
        Some(name)
    }

    /// All labels with their length bytes, without the root.
    pub(crate) fn as_wire(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }

    /// How many labels it has.
    pub(crate) fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// One label without its length byte, counted from the left; empty when there is none.
    pub(crate) fn label(&self, at: usize) -> &[u8] {
        if at >= self.labels() {
            return &[];
        }
        let start = usize::from(self.starts[at]);
        let length = usize::from(self.bytes[start]);
        &self.bytes[start + 1..start + 1 + length]
    }

    /// The first `count` labels with their length bytes.
    pub(crate) fn first(&self, count: usize) -> &[u8] {
        let end = match count >= self.labels() {
            true => usize::from(self.length),
            false => usize::from(self.starts[count]),
        };
        &self.bytes[..end]
    }

    /// How many labels stand before `suffix`, when the name ends with it.
    pub(crate) fn before(&self, suffix: &LowerName) -> Option<usize> {
        let rest = self.labels().checked_sub(suffix.labels())?;
        let from = match rest == self.labels() {
            true => usize::from(self.length),
            false => usize::from(self.starts[rest]),
        };
        (self.bytes[from..usize::from(self.length)] == *suffix.as_wire()).then_some(rest)
    }
}

impl std::fmt::Debug for LowerName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        (0..self.labels()).try_for_each(|at| write!(f, "{}.", self.label(at).escape_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_lowers() {
        let mut name = LowerName::default();
        assert_eq!(name.read(b"\x03WeB\x03svc\x08Internal\0rest"), Ok(18));
        assert_eq!(format!("{name:?}"), "web.svc.internal.");
        assert_eq!(name.first(1), b"\x03web");
        assert_eq!(name.label(3), b"");
        assert_eq!(name.before(&LowerName::parse("svc.internal").unwrap()), Some(1));
        assert_eq!(name.before(&LowerName::parse("").unwrap()), Some(3));
        assert_eq!(name.before(&LowerName::parse("vc.internal").unwrap()), None);
    }

    #[test]
    fn a_suffix_must_start_at_a_label() {
        // One label whose content looks like the length byte and text of another.
        let mut name = LowerName::default();
        name.read(b"\x05x\x03svc\x08internal\0").unwrap();
        assert_eq!(name.before(&LowerName::parse("svc.internal").unwrap()), None);
    }

    #[test]
    fn refuses_what_is_no_plain_name() {
        let mut name = LowerName::default();
        assert_eq!(name.read(b""), Err(NameError::Malformed));
        assert_eq!(name.read(b"\x03we"), Err(NameError::Malformed));
        assert_eq!(name.read(b"\x03web"), Err(NameError::Malformed));
        assert_eq!(name.read(b"\xc0\x0c"), Err(NameError::NotPlain));
        assert_eq!(name.read(b"\x40x"), Err(NameError::NotPlain));
        assert_eq!(name.read(&[1; 300]), Err(NameError::Malformed));
        let longest = [[63u8; 64].as_slice(), &[63; 64], &[63; 64], &[61; 62], &[0]].concat();
        assert_eq!(name.read(&longest), Ok(255));
        let longer = [[63u8; 64].as_slice(), &[63; 64], &[63; 64], &[62; 63], &[0]].concat();
        assert_eq!(name.read(&longer), Err(NameError::Malformed));
        assert!(LowerName::parse("a..b").is_none());
    }
}
