//! Renders a log as a terminal would show it: as plain text, and as HTML with its colours.
//!
//! anstyle-parse reads the escape sequences; the rendering is ours. ansi-to-html 0.2 nests a tag with each change of colour
//! (40,000 deep in a log of 256 KiB), gives up at a number above 255, keeps the sequences that hide the cursor, and names
//! colours by CSS variables, which mail programs do not know.

use std::fmt::Write;

use anstyle_parse::{Params, Parser, Perform, Utf8Parser};

use super::html::push_escaped;

/// The 16 named colours, readable on the dark background of the log.
const COLORS: [u32; 16] = [
    0x6e7681, 0xff7b72, 0x7ee787, 0xe3b341, 0x79c0ff, 0xd2a8ff, 0x76e3ea, 0xc9d1d9, //
    0x8b949e, 0xffa198, 0x9bf0a5, 0xf2cc60, 0xa5d6ff, 0xe2c5ff, 0xb3f0ff, 0xffffff,
];

/// A log that can be read without a terminal.
pub struct RenderedLog {
    pub text: String,
    pub html: String,
}

/// Renders the bytes of a log. Escape sequences other than colours and styles are left out, and so are control characters.
/// A line that was overwritten has only its last content. The HTML is well formed, and longer than the text by at most 90
/// bytes a character.
pub fn render(log: &[u8]) -> RenderedLog {
    let (mut parser, mut renderer) = (Parser::<Utf8Parser>::new(), Renderer::default());
    // The parser would swallow the byte after one that is not UTF-8, which may end a line.
    String::from_utf8_lossy(log).bytes().for_each(|byte| parser.advance(&mut renderer, byte));
    renderer.set(TextStyle::default());
    RenderedLog { text: renderer.text, html: renderer.html }
}

#[derive(Clone, Copy, PartialEq, Default)]
struct TextStyle {
    foreground: Option<u32>,
    background: Option<u32>,
    bold: bool,
    faint: bool,
    italic: bool,
    underlined: bool,
    struck: bool,
    inverse: bool,
}

#[derive(Default)]
struct Renderer {
    text: String,
    html: String,
    /// Offsets in the text and the HTML at which the current line begins.
    line_start: (usize, usize),
    /// True once the cursor has returned to that offset.
    returned: bool,
    /// The style of the next character.
    style: TextStyle,
    /// The style of the tag that is open in the HTML.
    open: TextStyle,
}

impl Perform for Renderer {
    fn print(&mut self, c: char) {
        if c.is_control() {
            return;
        }
        if std::mem::take(&mut self.returned) {
            self.set(TextStyle::default());
            self.text.truncate(self.line_start.0);
            self.html.truncate(self.line_start.1);
        }
        self.set(self.style);
        self.text.push(c);
        push_escaped(&mut self.html, c);
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\n' => {
                // No tag spans two lines, so each line can be shown alone.
                self.set(TextStyle::default());
                self.text.push('\n');
                self.html.push('\n');
                self.line_start = (self.text.len(), self.html.len());
                self.returned = false;
            }
            b'\r' => self.returned = true,
            b'\t' => {
                self.text.push('\t');
                self.html.push('\t');
            }
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignored: bool, action: u8) {
        if action == b'm' && intermediates.is_empty() && !ignored {
            self.style.change(params);
        }
    }
}

impl Renderer {
    fn set(&mut self, style: TextStyle) {
        if style == self.open {
            return;
        }
        if self.open != TextStyle::default() {
            self.html.push_str("</span>");
        }
        if style != TextStyle::default() {
            style.write_tag(&mut self.html);
        }
        self.open = style;
    }
}

impl TextStyle {
    /// Applies the parameters of SGR (ECMA-48, 8.3.117), with the colours of ISO 8613-6.
    fn change(&mut self, params: &Params) {
        if params.is_empty() {
            *self = Self::default();
        }
        let mut params = params.iter();
        while let Some(param) = params.next() {
            match param[0] {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                3 => self.italic = true,
                // 4:0 ends the underline.
                4 => self.underlined = param.get(1) != Some(&0),
                7 => self.inverse = true,
                9 => self.struck = true,
                21 => self.underlined = true,
                22 => (self.bold, self.faint) = (false, false),
                23 => self.italic = false,
                24 => self.underlined = false,
                27 => self.inverse = false,
                29 => self.struck = false,
                n @ 30..=37 => self.foreground = Some(COLORS[usize::from(n - 30)]),
                39 => self.foreground = None,
                n @ 40..=47 => self.background = Some(COLORS[usize::from(n - 40)]),
                49 => self.background = None,
                n @ 90..=97 => self.foreground = Some(COLORS[usize::from(n - 82)]),
                n @ 100..=107 => self.background = Some(COLORS[usize::from(n - 92)]),
                n @ (38 | 48) => {
                    // `38:5:N` is one parameter, `38;5;N` three.
                    let mut next = || params.next().map(|param| param[0]);
                    let color = match param[1..] {
                        [5, index] => indexed(index),
                        [2, .., r, g, b] => Some(mixed([r, g, b])),
                        [] => match next() {
                            Some(5) => next().and_then(indexed),
                            Some(2) => next().zip(next()).zip(next()).map(|((r, g), b)| mixed([r, g, b])),
                            _ => None,
                        },
                        _ => None,
                    };
                    *if n == 38 { &mut self.foreground } else { &mut self.background } = color;
                }
                _ => {}
            }
        }
    }

    /// Writes the opening tag.
    fn write_tag(self, html: &mut String) {
        html.push_str("<span style=\"");
        let (mut foreground, mut background) = (self.foreground, self.background);
        if self.inverse {
            (foreground, background) = (background.or(Some(0x0d1117)), foreground.or(Some(0xc9d1d9)));
        }
        // Writing to a String cannot fail.
        let _ = foreground.map_or(Ok(()), |color| write!(html, "color:#{color:06x};"));
        let _ = background.map_or(Ok(()), |color| write!(html, "background:#{color:06x};"));
        let marks = [
            (self.bold, "font-weight:bold;"),
            (self.faint, "opacity:.7;"),
            (self.italic, "font-style:italic;"),
            (self.underlined, "text-decoration:underline;"),
            (self.struck, "text-decoration:line-through;"),
        ];
        marks.iter().filter(|(is, _)| *is).for_each(|(_, mark)| html.push_str(mark));
        html.push_str("\">");
    }
}

/// Returns one of the 256 colours: 16 named ones, a cube of 6 × 6 × 6, 24 greys.
fn indexed(index: u16) -> Option<u32> {
    let step = |n: u16| if n == 0 { 0 } else { 55 + 40 * n };
    match index {
        0..=15 => Some(COLORS[usize::from(index)]),
        16..=231 => Some(mixed([step((index - 16) / 36), step((index - 16) / 6 % 6), step((index - 16) % 6)])),
        232..=255 => Some(mixed([8 + 10 * (index - 232); 3])),
        _ => None,
    }
}

fn mixed(parts: [u16; 3]) -> u32 {
    parts.iter().fold(0, |color, &part| color << 8 | u32::from(part.min(255)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn html(log: &str) -> String {
        render(log.as_bytes()).html
    }

    #[test]
    fn colours_become_html_and_are_not_in_the_text() {
        let log = "plain \x1b[31mred \x1b[1mbold\x1b[22m\x1b[39m <b>&\n\x1b[38;5;208mx\x1b[48;2;1;2;3my\x1b[mz";
        let rendered = render(log.as_bytes());
        assert_eq!(rendered.text, "plain red bold <b>&\nxyz");
        assert_eq!(
            rendered.html,
            "plain <span style=\"color:#ff7b72;\">red </span><span style=\"color:#ff7b72;font-weight:bold;\">bold</span> \
             &lt;b&gt;&amp;\n<span style=\"color:#ff8700;\">x</span><span style=\"color:#ff8700;background:#010203;\">y\
             </span>z"
        );
        assert_eq!(html("\x1b[38:2::255:0:0mx"), "<span style=\"color:#ff0000;\">x</span>");
        assert_eq!(html("\x1b[7mx"), "<span style=\"color:#0d1117;background:#c9d1d9;\">x</span>");
        assert_eq!(html("\x1b[4:3mx\x1b[4:0my"), "<span style=\"text-decoration:underline;\">x</span>y");
    }

    #[test]
    fn invisible_characters_are_left_out() {
        for (log, shown) in [
            ("10%\r50%\r100%\nnext\r\nend\r", "100%\nnext\nend"),
            ("a\x1b[2J\x1b[5;5Hb\x1b]0;title\x07c\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "abclink"),
            ("bell\x07 nul\0 back\x08 c1\u{9b}31m del\x7f", "bell nul back c131m del"),
            ("\x1b", ""),
            ("\x1b[31", ""),
            ("\x1b[é\x1b[999;;;;mx\x1b[38;5;999my\x1b[38mz\x1b[48;2;1mw", "xyzw"),
            ("\x1bPq secret \x1b\\after", "after"),
        ] {
            let rendered = render(log.as_bytes());
            assert_eq!(rendered.text, shown, "{log:?}");
            assert!(!rendered.html.contains('\x1b'), "{log:?}");
        }
        assert_eq!(render(b"\xff\xc3\x28 \xe2\x82").text, "\u{fffd}\u{fffd}( \u{fffd}");
        assert_eq!(html("\x1b[31mred\rok\n"), "<span style=\"color:#ff7b72;\">ok</span>\n");
    }

    #[test]
    fn a_hostile_log_does_not_grow_without_end() {
        let colours: String = (0..40_000).map(|n| format!("\x1b[38;5;{}mx", n % 256)).collect();
        let log = colours + &"\x1b[1mx\x1b[22mx".repeat(20_000);
        let rendered = render(log.as_bytes());
        assert!(rendered.html.len() < 91 * rendered.text.len(), "{}", rendered.html.len());
    }

    proptest! {
        #[test]
        fn any_bytes_are_well_formed_html(log in prop::collection::vec(prop_oneof![
            any::<u8>(), Just(0x1b), Just(b'['), Just(b'm'), Just(b';'), Just(b'3'), Just(b'<'), Just(b'\r'), Just(b'\n'),
        ], 0..200)) {
            let rendered = render(&log);
            let tags = regex::Regex::new("<span style=\"[a-z0-9:;#.-]+\">|</span>").unwrap();
            prop_assert!(!tags.replace_all(&rendered.html, "").contains(['<', '>', '"', '\'']));
            let mut depth = 0;
            for tag in tags.find_iter(&rendered.html) {
                depth += if tag.as_str() == "</span>" { -1 } else { 1 };
                prop_assert!((0..=1).contains(&depth));
            }
            prop_assert_eq!(depth, 0);
            prop_assert!(rendered.text.chars().all(|c| !c.is_control() || c == '\n' || c == '\t'));
        }
    }
}
