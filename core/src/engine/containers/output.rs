/// Longest part of a line that is kept, in bytes.
const LONGEST: usize = 64 << 10;

/// The last line of an output that is not blank.
#[derive(Default)]
pub(super) struct LastLine {
    line: Vec<u8>,
    /// The line before it.
    former: Vec<u8>,
    begun: Vec<u8>,
}

impl LastLine {
    /// Adds a piece of the output, which may end within a line.
    pub fn add(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend(&part[..part.len().min(LONGEST - self.begun.len())]);
            if part.ends_with(b"\n") {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        if !self.begun.trim_ascii().is_empty() {
            std::mem::swap(&mut self.former, &mut self.line);
            std::mem::swap(&mut self.line, &mut self.begun);
        }
        self.begun.clear();
    }

    /// Returns the line; empty if nothing was written. A line that is the exit code alone says nothing: compose 1.29 adds one
    /// to the output of each test that fails.
    pub fn text(mut self, code: i32) -> String {
        self.end_line();
        let is_code = self.line.trim_ascii() == code.to_string().as_bytes() && !self.former.is_empty();
        let line = if is_code { &self.former } else { &self.line };
        String::from_utf8_lossy(line.trim_ascii()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_last_that_says_something() {
        for (pieces, expected) in [
            (&["one\ntw", "o\n", "\n  \n"][..], "two"),
            (&["one\n", "  two"], "two"),
            (&["", "\n"], ""),
            (&["a\r\n\r\n"], "a"),
            (&["2 failed\n3\n"], "2 failed"),
            (&["3\n"], "3"),
        ] {
            let mut last = LastLine::default();
            pieces.iter().for_each(|piece| last.add(piece.as_bytes()));
            assert_eq!(last.text(3), expected, "{pieces:?}");
        }
    }

    #[test]
    fn an_endless_line_takes_no_more_memory() {
        let mut last = LastLine::default();
        (0..100).for_each(|_| last.add(&[b'x'; LONGEST / 10]));
        assert_eq!(last.text(0).len(), LONGEST);
    }
}
