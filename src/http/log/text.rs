use axum::body::Bytes;

/// Makes text of a log's bytes. A character that is cut by the end of a piece comes with the next piece, and what is no UTF-8
/// becomes U+FFFD.
#[derive(Default)]
pub struct LogText {
    held: Vec<u8>,
    /// True if a carriage return at the end of a piece is held, because a line feed may follow.
    holds_returns: bool,
}

impl LogText {
    pub fn with_returns_held() -> Self {
        Self { holds_returns: true, ..Self::default() }
    }

    /// Returns the whole characters, as UTF-8, and the number of the log's bytes that they were.
    pub fn push(&mut self, piece: Bytes) -> (Bytes, u64) {
        let mut piece = match self.held.is_empty() {
            true => piece,
            false => [std::mem::take(&mut self.held), piece.to_vec()].concat().into(),
        };
        let held = match piece.last() {
            Some(b'\r') if self.holds_returns => 1,
            _ => unfinished(&piece),
        };
        self.held = piece.split_off(piece.len() - held).into();
        let len = piece.len() as u64;
        (utf8(piece), len)
    }

    /// Returns what was held, because nothing more comes.
    pub fn rest(&mut self) -> (Bytes, u64) {
        let rest = Bytes::from(std::mem::take(&mut self.held));
        let len = rest.len() as u64;
        (utf8(rest), len)
    }
}

fn utf8(bytes: Bytes) -> Bytes {
    match std::str::from_utf8(&bytes) {
        Ok(_) => bytes,
        Err(_) => String::from_utf8_lossy(&bytes).into_owned().into(),
    }
}

/// Returns the number of bytes at the end that are the beginning of a character.
fn unfinished(bytes: &[u8]) -> usize {
    let is_continuation = |byte: u8| byte & 0b1100_0000 == 0b1000_0000;
    for (back, &byte) in bytes.iter().rev().take(3).enumerate() {
        let length = match byte {
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            byte if is_continuation(byte) => continue,
            _ => return 0,
        };
        return if back + 1 < length { back + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_cut_of_any_bytes_gives_the_same_text(bytes: Vec<u8>, text in "\\PC{0,40}", cuts: Vec<u8>, returns: bool) {
            for bytes in [bytes, text.into_bytes()] {
                let mut log = LogText { holds_returns: returns, ..LogText::default() };
                let (mut rest, mut all, mut count) = (Bytes::from(bytes.clone()), String::new(), 0);
                let mut take = |(text, len): (Bytes, u64)| {
                    all += std::str::from_utf8(&text).unwrap();
                    count += len;
                };
                for cut in &cuts {
                    let piece = rest.split_to(usize::from(*cut % 8).min(rest.len()));
                    take(log.push(piece));
                }
                take(log.push(rest));
                take(log.rest());
                prop_assert_eq!(count, bytes.len() as u64);
                prop_assert_eq!(all, String::from_utf8_lossy(&bytes).into_owned());
            }
        }
    }
}
