/// The one range of a `Range: bytes=…` header (RFC 9110, section 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// From a position up to and including another one, or to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

impl Range {
    /// Parses the header. Returns `None` for what the RFC lets a server ignore: another unit, several ranges, or text that is not a
    /// range.
    pub fn parse(header: &str) -> Option<Self> {
        let (unit, range) = header.split_once('=')?;
        let (first, last) = range.trim().split_once('-')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match (first, last) {
            ("", last) => Some(Self::Last(position(last)?)),
            (first, "") => Some(Self::From(position(first)?, None)),
            (first, last) => {
                let (first, last) = (position(first)?, position(last)?);
                (first <= last).then_some(Self::From(first, Some(last)))
            }
        }
    }

    /// Returns the range in a text of `len` bytes, as the first position and the one after the last. Returns `None` if the
    /// text has nothing of it.
    pub fn within(self, len: u64) -> Option<(u64, u64)> {
        match self {
            Self::From(first, last) => {
                (first < len).then(|| (first, last.map_or(len, |last| last.saturating_add(1).min(len))))
            }
            Self::Last(count) => (count > 0 && len > 0).then(|| (len.saturating_sub(count), len)),
        }
    }
}

/// Parses digits. More digits than a number has room for give the largest number.
fn position(digits: &str) -> Option<u64> {
    let all_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    all_digits.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_forms_of_the_rfc_are_parsed() {
        let within = |header, len| Range::parse(header).map(|range| range.within(len));
        assert_eq!(within("bytes=0-499", 1000), Some(Some((0, 500))));
        assert_eq!(within("bytes=500-", 1000), Some(Some((500, 1000))));
        assert_eq!(within("bytes=-500", 1000), Some(Some((500, 1000))));
        assert_eq!(within("bytes=-5000", 1000), Some(Some((0, 1000))));
        assert_eq!(within("BYTES=9-99999999999999999999999", 10), Some(Some((9, 10))));
        assert_eq!(within("bytes=1000-", 1000), Some(None));
        assert_eq!(within("bytes=-0", 1000), Some(None));
        assert_eq!(within("bytes=0-", 0), Some(None));
        for header in
            ["", "bytes", "bytes=", "bytes=-", "bytes=a-b", "bytes=5-4", "bytes=0-1,5-6", "lines=0-1", "bytes=+1-2"]
        {
            assert_eq!(Range::parse(header), None, "{header}");
        }
    }

    proptest! {
        #[test]
        fn any_header_gives_a_range_inside_or_none(header in "(bytes=)?[0-9,= a-]{0,40}|\\PC{0,40}", len in 0..2000u64) {
            if let Some((first, end)) = Range::parse(&header).and_then(|range| range.within(len)) {
                prop_assert!(first < end && end <= len);
            }
        }

        #[test]
        fn a_range_is_cut_out_of_its_text(first in 0..500u64, more in 0..500u64, len in 1..2000u64) {
            let range = Range::parse(&format!("bytes={first}-{}", first + more)).unwrap();
            prop_assert_eq!(range.within(len), (first < len).then(|| (first, (first + more + 1).min(len))));
        }
    }
}
