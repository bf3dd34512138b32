//! The counts by which Git distinguishes text from other content if an attribute says `text=auto` (its `convert.c`).

#[derive(Debug, Default)]
pub(super) struct Stats {
    nul: u64,
    lone_cr: u64,
    lone_lf: u64,
    crlf: u64,
    printable: u64,
    unprintable: u64,
    last: Option<u8>,
}

impl Stats {
    pub fn add(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if self.last == Some(b'\r') {
                *(if byte == b'\n' { &mut self.crlf } else { &mut self.lone_cr }) += 1;
            }
            match byte {
                b'\r' => {}
                b'\n' if self.last == Some(b'\r') => {}
                b'\n' => self.lone_lf += 1,
                0 => {
                    self.nul += 1;
                    self.unprintable += 1;
                }
                // These are backspace, tab, form feed and escape.
                8 | 9 | 12 | 27 => self.printable += 1,
                1..32 | 127 => self.unprintable += 1,
                _ => self.printable += 1,
            }
            self.last = Some(byte);
        }
    }

    /// Returns true for text with line ends none of which has a CR. `text=auto` adds CRs to no other content.
    pub fn is_plain_text(&self) -> bool {
        let lone_cr = self.lone_cr + u64::from(self.last == Some(b'\r'));
        // DOS ended a text with this byte.
        let unprintable = self.unprintable - u64::from(self.last == Some(26));
        self.lone_lf > 0 && lone_cr == 0 && self.crlf == 0 && self.nul == 0 && self.printable >> 7 >= unprintable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_from_what_is_not() {
        let long = "x".repeat(127);
        for (content, is_text) in [
            ("a\nb\n", true),
            ("a", false),
            ("", false),
            ("a\r\nb\n", false),
            ("a\rb\n", false),
            ("a\nb\r", false),
            ("a\0\n", false),
            ("a\u{1}\n", false),
            ("a\n\u{1a}", true),
            ("\u{1b}[0m\t\u{8}\n", true),
            (&format!("{long}x\u{7f}\n"), true),
            (&format!("{long}\u{7f}\n"), false),
        ] {
            // A chunk may end anywhere.
            for at in 0..=content.len() {
                let mut stats = Stats::default();
                stats.add(&content.as_bytes()[..at]);
                stats.add(&content.as_bytes()[at..]);
                assert_eq!(stats.is_plain_text(), is_text, "{content:?} at {at}");
            }
        }
    }
}
