//! One pattern of `.dockerignore`, translated as `github.com/moby/patternmatcher` 0.6 does.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::fmt::Write as _;

use regex::Regex;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pattern {pattern:?} of .dockerignore or of the engine is malformed: {why}")]
pub(super) struct BadPattern {
    pattern: String,
    why: &'static str,
}

/// How a pattern is matched.
pub(super) enum Kind {
    Exact,
    /// `dir/**`
    Prefix,
    /// `**/name`
    Suffix,
    Regex(Glob),
}

/// A pattern that needs a regular expression: compiled when a path first has its literal head
/// and tail, which most paths have not (a regex costs 30 µs to make and 50 ns to try).
pub(super) struct Glob {
    pub source: String,
    head: Vec<u8>,
    pub tail: Vec<u8>,
    regex: OnceCell<Regex>,
}

impl Glob {
    pub(super) fn matches(&self, path: &[u8]) -> Result<bool, BadPattern> {
        if path.len() < self.head.len() + self.tail.len()
            || !path.starts_with(&self.head)
            || !path.ends_with(&self.tail)
        {
            return Ok(false);
        }
        let regex = match self.regex.get() {
            Some(regex) => regex,
            None => {
                let regex = Regex::new(&self.source).map_err(|_| bad(self.source.as_bytes(), "it is too large"))?;
                self.regex.get_or_init(|| regex)
            }
        };
        Ok(regex.is_match(&text(path)))
    }
}

/// As Go sees it: each byte that is not UTF-8 is one U+FFFD.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    text.into()
}

pub(super) fn bad(pattern: &[u8], why: &'static str) -> BadPattern {
    BadPattern { pattern: String::from_utf8_lossy(pattern).into_owned(), why }
}

/// Translates a pattern; `deep`: `**` crosses directories.
pub(super) fn compile(pattern: &[u8], deep: bool) -> Result<Kind, BadPattern> {
    #[derive(PartialEq)]
    enum Shape {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let all = text(pattern);
    let mut chars = all.chars().peekable();
    let mut shape = Shape::Exact;
    let mut source = String::from("^");
    // The literal text before the first and after the last wildcard.
    let (mut head, mut tail) = (None, String::new());
    let mut first = true;
    while let Some(c) = chars.next() {
        let mut literal = None;
        match c {
            '*' if deep && chars.next_if_eq(&'*').is_some() => {
                chars.next_if_eq(&'/');
                let last = chars.peek().is_none();
                source.push_str(if last { ".*" } else { "(.*/)?" });
                shape = match shape {
                    _ if first => Shape::Suffix,
                    Shape::Exact if last => Shape::Prefix,
                    _ => Shape::Regex,
                };
            }
            // Upstream leaves it in its regular expression, where it matches nothing.
            '^' => source.push('^'),
            '*' | '?' | '[' => {
                shape = Shape::Regex;
                match c {
                    '*' => source.push_str("[^/]*"),
                    '?' => source.push_str("[^/]"),
                    _ => class(&mut chars, &mut source).map_err(|why| bad(pattern, why))?,
                }
            }
            '\\' | ']' => {
                shape = Shape::Regex;
                let escaped = if c == ']' { Some(c) } else { chars.next() };
                literal = Some(escaped.ok_or_else(|| bad(pattern, "it ends with a backslash"))?);
            }
            c => literal = Some(c),
        }
        first = false;
        match literal {
            Some(c) => {
                source.push_str(&regex::escape(c.encode_utf8(&mut [0; 4])));
                tail.push(c);
            }
            None => {
                let before = std::mem::take(&mut tail);
                head.get_or_insert(before);
            }
        }
    }
    source.push('$');
    // U+FFFD stands for bytes that are not UTF-8: no text to compare bytes with.
    let bytes = |text: String| if text.contains('\u{fffd}') { vec![] } else { text.into_bytes() };
    Ok(match shape {
        Shape::Exact => Kind::Exact,
        Shape::Prefix => Kind::Prefix,
        Shape::Suffix => Kind::Suffix,
        Shape::Regex => {
            let (head, tail) = (bytes(head.unwrap_or_default()), bytes(tail));
            Kind::Regex(Glob { source, head, tail, regex: OnceCell::new() })
        }
    })
}

/// A character class, by the grammar of Go's `filepath.Match`; `[` is read already.
fn class(chars: &mut std::iter::Peekable<std::str::Chars>, source: &mut String) -> Result<(), &'static str> {
    let member = |chars: &mut std::iter::Peekable<std::str::Chars>| match chars.next() {
        None => Err("a '[' has no ']'"),
        Some('-' | ']') => Err("a class has a '-' or ']' where a character must be"),
        Some('\\') => chars.next().ok_or("it ends with a backslash"),
        Some(c) => Ok(c),
    };
    source.push('[');
    if chars.next_if_eq(&'^').is_some() {
        source.push('^');
    }
    loop {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        if high < low {
            return Err("a class has a range from high to low");
        }
        let _ = write!(source, "\\x{{{:x}}}-\\x{{{:x}}}", low as u32, high as u32);
        match chars.peek() {
            None => return Err("a '[' has no ']'"),
            Some(']') => break,
            Some(_) => {}
        }
    }
    chars.next();
    source.push(']');
    Ok(())
}
