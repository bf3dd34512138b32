//! Logs on a terminal. A build may print what it likes, and a terminal acts on much of it: titles, the clipboard, the
//! cursor, answers that look like typing. Colours and styles pass, and nothing else.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};

use anstyle_parse::{Params, Parser, Perform, Utf8Parser};

/// Standard output for a log: its bytes as they are, or for a terminal what is harmless.
pub struct LogOutput {
    filter: Option<TerminalFilter>,
    /// True if the next text begins on a line of its own.
    pub is_at_line_start: bool,
}

impl LogOutput {
    pub fn new() -> Self {
        let filter = io::stdout().is_terminal().then(TerminalFilter::default);
        Self { filter, is_at_line_start: true }
    }

    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let shown = self.filter.as_mut().map(|filter| filter.push(bytes));
        self.write_out(shown.as_deref().map_or(bytes, str::as_bytes))
    }

    /// Ends the colours of the log.
    pub fn end(&mut self) -> io::Result<()> {
        match &self.filter {
            Some(filter) if filter.shown.is_styled => self.write_out(b"\x1b[0m"),
            _ => Ok(()),
        }
    }

    fn write_out(&mut self, shown: &[u8]) -> io::Result<()> {
        if !shown.is_empty() {
            self.is_at_line_start = shown.ends_with(b"\n");
        }
        let mut out = io::stdout().lock();
        out.write_all(shown)?;
        out.flush()
    }
}

/// Lets through text, the ends of lines, tabs, colours and styles. A lone carriage return, after which a line would be
/// overwritten, becomes the end of a line.
#[derive(Default)]
struct TerminalFilter {
    parser: Parser<Utf8Parser>,
    shown: ShownText,
    /// The beginning of a character whose rest has not come.
    cut: Vec<u8>,
}

#[derive(Default)]
struct ShownText {
    text: String,
    has_line: bool,
    /// True after a carriage return.
    is_returned: bool,
    /// True while a colour or style may be on.
    is_styled: bool,
}

impl TerminalFilter {
    /// Returns what is shown of the next bytes of a log.
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut text = std::mem::take(&mut self.cut);
        text.extend_from_slice(bytes);
        for chunk in text.utf8_chunks() {
            chunk.valid().bytes().for_each(|byte| self.parser.advance(&mut self.shown, byte));
            let invalid = chunk.invalid();
            let is_last = invalid.as_ptr_range().end == text.as_ptr_range().end;
            match std::str::from_utf8(invalid) {
                Err(error) if error.error_len().is_none() && is_last => self.cut = invalid.to_vec(),
                // The parser would swallow the byte after one that is not UTF-8.
                Err(_) => self.shown.print(char::REPLACEMENT_CHARACTER),
                Ok(_) => {}
            }
        }
        std::mem::take(&mut self.shown.text)
    }
}

impl Perform for ShownText {
    fn print(&mut self, c: char) {
        // Terminals take U+0080 to U+009F for escape sequences, too.
        if c.is_control() {
            return;
        }
        if std::mem::take(&mut self.is_returned) && self.has_line {
            self.text.push('\n');
        }
        self.text.push(c);
        self.has_line = true;
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                self.text.push('\n');
                (self.has_line, self.is_returned) = (false, false);
            }
            b'\r' => self.is_returned = true,
            b'\t' => self.text.push('\t'),
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignored: bool, action: u8) {
        // With an intermediate byte it is another function, such as that of the keyboard's modifiers.
        if action != b'm' || !intermediates.is_empty() || ignored {
            return;
        }
        let join = |numbers: &[u16]| numbers.iter().map(u16::to_string).collect::<Vec<_>>().join(":");
        let params = params.iter().map(join).collect::<Vec<_>>().join(";");
        self.is_styled = !matches!(&*params, "" | "0");
        // Writing to a String cannot fail.
        let _ = write!(self.text, "\x1b[{params}m");
    }
}

/// Takes a log, and checks that no control character but those of colours comes through.
#[cfg(fuzzing)]
pub fn fuzz(log: &[u8]) {
    let mut filter = TerminalFilter::default();
    let shown: String = log.chunks(7).map(|piece| filter.push(piece)).collect();
    assert!(shown.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\t' | '\x1b')));
    assert!(shown.split('\x1b').skip(1).all(|rest| {
        rest.strip_prefix('[').is_some_and(|rest| {
            rest.trim_start_matches(|c: char| c.is_ascii_digit() || ";:".contains(c)).starts_with('m')
        })
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn colours_pass_and_nothing_else() {
        for (log, shown) in [
            (&b"plain\ttext\r\nnext\n"[..], "plain\ttext\nnext\n"),
            (
                b"\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mx\x1b[m \x1b[4:3mcurly",
                "\x1b[1;31mred\x1b[0m \x1b[38;2;1;2;3mx\x1b[0m \x1b[4:3mcurly",
            ),
            (b"10 %\r20 %\r\n", "10 %\n20 %\n"),
            (b"\rfirst\r\r\n", "first\n"),
            // A title, the clipboard, a link, cursor, screen, a question that the terminal answers, its modes.
            (b"a\x1b]0;title\x07b\x1b]52;c;aGk=\x1b\\c\x1b]8;;http://x\x07d", "abcd"),
            (b"a\x1b[2J\x1b[Hb\x1b[3Ac\x1b[Kd\x1b[6ne\x1b[?1049hf\x1b[>4;2mg\x1bch", "abcdefgh"),
            (b"a\x1bPq#0\x1b\\b\x08\x07\x0e\x7fc", "abc"),
            // The same by single characters of C1.
            ("a\u{9b}31mb\u{9d}0;x\u{7}c".as_bytes(), "a31mb0;xc"),
            (b"bad \xff byte, \xc3\xa4", "bad \u{fffd} byte, \u{e4}"),
        ] {
            assert_eq!(TerminalFilter::default().push(log), shown, "{:?}", String::from_utf8_lossy(log));
        }
    }

    proptest! {
        #[test]
        fn pieces_are_shown_as_the_whole(log in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(0x1b), Just(b'['), Just(b'm'), Just(b']'), Just(b'\r'), Just(b'\n'), Just(0xc3), Just(0xa4),
        ], 0..60), at in 0..60usize) {
            let at = at.min(log.len());
            let mut filter = TerminalFilter::default();
            let pieces = filter.push(&log[..at]) + &filter.push(&log[at..]);
            prop_assert_eq!(&pieces, &TerminalFilter::default().push(&log));
            let rest = regex::Regex::new("\x1b\\[[0-9:;]*m").unwrap().replace_all(&pieces, "").into_owned();
            prop_assert!(rest.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'), "{:?}", rest);
        }
    }
}
