//! Translates Go's regular expressions into the syntax of the `regex` crate, as far as Docker makes them of patterns.
//!
//! Docker (`github.com/moby/patternmatcher`) copies classes and escapes of a pattern unchanged into a regular
//! expression. Therefore `\d` matches a digit, `[*]` does not match a star, and `\c` is an error. This module reads
//! them like Go.

use std::fmt::Write as _;

/// Translates an expression, or returns `None` if Go finds an error in it.
pub(super) fn translate(go: &str) -> Option<String> {
    let mut reader = GoRegexReader { rest: go };
    let mut out = String::with_capacity(2 * go.len());
    // `before` is the operator before the current one, or the last character of an atom.
    let mut before = None;
    while let Some(c) = reader.next() {
        match c {
            '[' => reader.class(&mut out)?,
            '\\' if reader.skip("Q") => {
                let (literal, rest) = reader.rest.split_once("\\E").unwrap_or((reader.rest, ""));
                reader.rest = rest;
                out.push_str(&regex::escape(literal));
            }
            '\\' if reader.skip("A") => out.push_str("\\A"),
            '\\' if reader.skip("z") => out.push_str("\\z"),
            '\\' if reader.skip("b") => out.push_str("\\b"),
            '\\' if reader.skip("B") => out.push_str("\\B"),
            '\\' => match reader.set()? {
                Some(set) => out.push_str(set),
                None => range(reader.escaped()?, None, &mut out),
            },
            '.' | '(' | ')' | '*' | '?' | '^' | '$' | '|' => out.push(c),
            '{' => match reader.repetition()? {
                // Go refuses a repetition of nothing and of another repetition.
                Some(_) if matches!(before, None | Some('(' | '|' | '*' | '?' | '}')) => return None,
                Some(times) => {
                    out.push_str(&times);
                    before = Some('}');
                    continue;
                }
                None => out.push_str("\\{"),
            },
            c => range(c, None, &mut out),
        }
        before = if c == '\\' || c == '}' { Some('x') } else { Some(c) };
    }
    Some(out)
}

/// Writes a character, or a range of a class.
fn range(low: char, high: Option<char>, out: &mut String) {
    let _ = write!(out, "\\x{{{:x}}}", low as u32);
    if let Some(high) = high {
        let _ = write!(out, "-\\x{{{:x}}}", high as u32);
    }
}

struct GoRegexReader<'a> {
    rest: &'a str,
}

impl GoRegexReader<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Reads `{2}`, `{2,}` or `{2,3}` after its `{`. Other braces are literal.
    fn repetition(&mut self) -> Option<Option<String>> {
        let Some((inside, rest)) = self.rest.split_once('}') else { return Some(None) };
        let (low, high) = inside.split_once(',').unwrap_or((inside, inside));
        let is_number = |text: &str| {
            let is_canonical = text == "0" || !text.starts_with('0');
            !text.is_empty() && is_canonical && text.bytes().all(|b| b.is_ascii_digit())
        };
        if !is_number(low) || !(is_number(high) || high.is_empty() && inside.ends_with(',')) {
            return Some(None);
        }
        self.rest = rest;
        let (low, high) = (low.parse::<u32>().ok()?, high.parse::<u32>().ok());
        let most = high.unwrap_or(low);
        (low <= most && most <= 1000).then(|| Some(format!("{{{inside}}}")))
    }

    /// Reads an escape that stands for a set of characters.
    fn set(&mut self) -> Option<Option<&'static str>> {
        const SETS: [(&str, &str); 6] = [
            ("d", "[0-9]"),
            ("D", "[^0-9]"),
            ("s", "[\\t\\n\\f\\r ]"),
            ("S", "[^\\t\\n\\f\\r ]"),
            ("w", "[0-9A-Za-z_]"),
            ("W", "[^0-9A-Za-z_]"),
        ];
        if self.rest.starts_with(['p', 'P']) {
            return None; // Docker escapes the braces of Unicode's sets, so Go finds an error
        }
        Some(SETS.iter().find(|(letter, _)| self.skip(letter)).map(|(_, set)| *set))
    }

    /// Reads an escape that stands for one character.
    fn escaped(&mut self) -> Option<char> {
        match self.next()? {
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
            'a' => Some('\x07'),
            'f' => Some('\x0c'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\x0b'),
            'x' => {
                let (high, low) = (self.next()?.to_digit(16)?, self.next()?.to_digit(16)?);
                char::from_u32(16 * high + low)
            }
            first @ '0'..='7' => {
                let is_octal = |c: &char| c.is_digit(8);
                // A single digit would refer to a group.
                if first != '0' && !self.rest.chars().next().is_some_and(|c| is_octal(&c)) {
                    return None;
                }
                let mut value = first.to_digit(8)?;
                for _ in 0..2 {
                    if let Some(digit) = self.rest.chars().next().filter(is_octal) {
                        self.next();
                        value = 8 * value + digit.to_digit(8)?;
                    }
                }
                char::from_u32(value)
            }
            _ => None,
        }
    }

    /// Reads a class after its `[`.
    fn class(&mut self, out: &mut String) -> Option<()> {
        out.push('[');
        if self.skip("^") {
            out.push('^');
        }
        let mut first = true;
        loop {
            if !std::mem::take(&mut first) && self.skip("]") {
                out.push(']');
                return Some(());
            }
            if let Some(at) = self.rest.strip_prefix("[:").and_then(|rest| rest.find(":]")) {
                let (name, rest) = self.rest.split_at(at + 4);
                let word = name[2..name.len() - 2].trim_start_matches('^');
                if !POSIX.contains(&word) || name.contains("^^") {
                    return None;
                }
                out.push_str(name);
                self.rest = rest;
                continue;
            }
            let low = match self.next()? {
                '\\' => match self.set()? {
                    Some(set) => {
                        out.push_str(set);
                        continue;
                    }
                    None => self.escaped()?,
                },
                c => c,
            };
            let mut high = low;
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") {
                self.next();
                high = match self.next()? {
                    '\\' => self.escaped()?,
                    c => c,
                };
            }
            if high < low {
                return None;
            }
            range(low, Some(high), out);
        }
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "word",
    "xdigit",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;

    #[test]
    fn a_translation_matches_like_go() {
        for (go, text, expected) in [
            (r"^a\.b$", "a.b", true),
            (r"^[^/]*\d$", "x5", true),
            (r"^\d$", "٣", false),
            (r"^\w\W$", "aé", true),
            // This is the expression that Docker makes of the pattern `[*]`.
            (r"^[[^/]*]$", "*]", false),
            (r"^[[^/]*]$", "^[]", true),
            (r"^[]a]$", "]", true),
            (r"^[^]a]$", "]", false),
            (r"^[a-]$", "-", true),
            (r"^[[:alpha:]]$", "b", true),
            (r"^[[:^alpha:]]$", "b", false),
            (r"^[[:]$", "[", true),
            (r"^[\d\-x]$", "7", true),
            (r"^[a&&b]$", "&", true),
            (r"^\x41\101\0$", "AA\0", true),
            (r"^\Qa.[b\E.$", "a.[bc", true),
            (r"^a\bb$", "ab", false),
            (r"^\n[^a]$", "\n\n", true),
            (r"^.$", "\n", false),
            (r"^a|b$", "xb", true),
            (r"^a{2}$", "aa", true),
            (r"^a{2,}b{0,1}$", "aaab", true),
            (r"^a{,2}{x}{02}$", "a{,2}{x}{02}", true),
            (r"^a[^/]*\$", "abc$d", true),
        ] {
            let regex = Regex::new(&translate(go).unwrap()).unwrap();
            assert_eq!(regex.is_match(text), expected, "{go} against {text:?}");
        }
        for go in [
            r"\c",
            r"\8",
            r"\1",
            r"\é",
            r"\pL",
            r"\x4",
            r"\",
            "[a",
            r"[\b]",
            "[z-a]",
            "[[:a:]]",
            "[[:^^word:]]",
            "a|{2}",
            "a*{2}",
            "a{2}{2}",
            "a{3,2}",
            "a{1001}",
        ] {
            assert_eq!(translate(go), None, "{go}");
        }
    }

    proptest! {
        /// The expressions have everything that a pattern may lead to, and quantifiers where Docker puts them.
        #[test]
        fn translations_compile(go in r"([a-e/é&~|{},0-9-]|\\[!-~é]|[\[\]^]|\[\^/\]\*|\(\.\*/\)\?|\.\*)*") {
            if let Some(rust) = translate(&go) {
                prop_assert!(Regex::new(&rust).is_ok(), "{}", rust);
            }
        }
    }
}
