//! Translates one pattern of `.dockerignore` like `github.com/moby/patternmatcher` 0.6.

use std::borrow::Cow;
use std::cell::{Cell, OnceCell};
use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;
use std::time::Duration;

use regex_automata::meta::{Config, Regex};

use super::go_regex::translate;

/// Bounds of the patterns of one `.dockerignore`, and of those that an engine asks with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PatternBounds {
    /// PATTERN_MEMORY: largest regular expression of one pattern, compiled and in bytes.
    pub each: u64,
    /// PATTERNS_MEMORY: the same for those of all patterns together.
    pub all: u64,
    /// PATTERNS_TIME: longest time for the choice of files. A context of 100,000 files and 3,000 patterns takes 0.3 s.
    pub time: Duration,
}

impl Default for PatternBounds {
    /// Returns the defaults of the settings.
    fn default() -> Self {
        Self { each: 256 << 10, all: 16 << 20, time: Duration::from_secs(30) }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::engine) enum BadPattern {
    #[error("pattern {pattern:?} of .dockerignore or of the engine is malformed: {why}")]
    Malformed { pattern: String, why: &'static str },
    #[error(
        "pattern {pattern:?} of .dockerignore or of the engine takes more than {kib} KiB to match (PATTERN_MEMORY): \
         simplify it"
    )]
    Large { pattern: String, kib: u64 },
    #[error(
        "the patterns of .dockerignore take more than {kib} KiB to match (PATTERNS_MEMORY): use fewer with wildcards"
    )]
    AllLarge { kib: u64 },
    #[error(
        "the patterns of .dockerignore were not matched with {files} files within {time:?} (PATTERNS_TIME): use fewer of \
         both"
    )]
    Late { files: usize, time: Duration },
}

/// The memory of the regular expressions of one list of patterns.
#[derive(Debug, Default)]
pub(super) struct RegexBudget {
    bounds: PatternBounds,
    used: Cell<u64>,
}

impl RegexBudget {
    pub(super) fn new(bounds: PatternBounds) -> Self {
        Self { bounds, used: Cell::new(0) }
    }

    fn take(&self, bytes: u64) -> Result<(), BadPattern> {
        self.used.set(self.used.get().saturating_add(bytes));
        match self.used.get() > self.bounds.all {
            true => Err(BadPattern::AllLarge { kib: self.bounds.all >> 10 }),
            false => Ok(()),
        }
    }
}

/// The way in which a pattern is matched.
pub(super) enum PatternKind {
    Exact,
    /// A pattern such as `dir/**`.
    Prefix,
    /// A pattern such as `**/name`.
    Suffix,
    Regex(Glob),
    /// A pattern whose error Go reports only when it matches a path.
    Broken,
}

/// A pattern that needs a regular expression. The expression is compiled when a path first has the pattern's literal
/// head and tail, which most paths do not have. It takes 30 µs to compile and 50 ns to match.
pub(super) struct Glob {
    pub source: String,
    head: Vec<u8>,
    pub tail: Vec<u8>,
    /// The longest text that every match has somewhere; empty if none is known.
    pub literal: Vec<u8>,
    regex: OnceCell<Regex>,
}

impl Glob {
    /// Returns true if the pattern with this text matches a path.
    pub(super) fn matches(&self, path: &[u8], pattern: &[u8], budget: &RegexBudget) -> Result<bool, BadPattern> {
        if path.len() < self.head.len() + self.tail.len()
            || !path.starts_with(&self.head)
            || !path.ends_with(&self.tail)
        {
            return Ok(false);
        }
        let regex = match self.regex.get() {
            Some(regex) => regex,
            None => {
                let most = budget.bounds.each;
                let config = Config::new().nfa_size_limit(usize::try_from(most).ok());
                let regex = Regex::builder().configure(config).build(&self.source);
                let large = |_| BadPattern::Large { pattern: text(pattern).into_owned(), kib: most >> 10 };
                let regex = regex.map_err(large)?;
                budget.take(regex.memory_usage() as u64)?;
                self.regex.get_or_init(|| regex)
            }
        };
        Ok(regex.is_match(&*text(path)))
    }
}

/// Converts bytes to text like Go, where each byte that is not UTF-8 becomes one U+FFFD.
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
    BadPattern::Malformed { pattern: String::from_utf8_lossy(pattern).into_owned(), why }
}

/// Translates a pattern. With `deep` it is read like patternmatcher, where `**` crosses directories, and otherwise like
/// Go's `filepath.Match`.
pub(super) fn compile(pattern: &[u8], deep: bool) -> Result<PatternKind, BadPattern> {
    enum Shape {
        Exact,
        Prefix,
        Suffix,
        Regex,
    }
    let all = text(pattern);
    if deep {
        check(&all).map_err(|why| bad(pattern, why))?;
    }
    let mut chars = all.chars().peekable();
    let mut shape = Shape::Exact;
    let mut source = String::from("^");
    // `head` and `tail` are the literal text before the first and after the last wildcard, and `middle` is the longest
    // between two.
    let (mut head, mut tail, mut middle) = (None, String::new(), String::new());
    let (mut first, mut has_ends) = (true, true);
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
            // Patternmatcher copies these characters unchanged, inside and outside of a class.
            '[' | ']' if deep => {
                shape = Shape::Regex;
                source.push(c);
            }
            '^' if deep => source.push('^'),
            '|' | '{' | '}' if deep => {
                source.push(c);
                has_ends = false;
            }
            '\\' if deep => {
                source.push('\\');
                if let Some(&escaped) = chars.peek() {
                    shape = Shape::Regex;
                    source.push(escaped);
                }
                literal = chars.next().filter(|c| !c.is_ascii_alphanumeric());
                // An escape of a letter or digit may have further characters.
                has_ends &= literal.is_some();
            }
            '*' | '?' | '[' => {
                shape = Shape::Regex;
                match c {
                    '*' => source.push_str("[^/]*"),
                    '?' => source.push_str("[^/]"),
                    _ => class(&mut chars).and_then(|c| c.write(&mut source)).map_err(|why| bad(pattern, why))?,
                }
            }
            _ if deep => {
                if ".+()$".contains(c) {
                    source.push('\\');
                }
                source.push(c);
                literal = Some(c);
            }
            _ => {
                shape = Shape::Regex;
                literal = if c == '\\' { chars.next() } else { Some(c) };
                literal.ok_or_else(|| bad(pattern, LAST_BACKSLASH))?;
                source.extend(literal.map(|c| regex::escape(c.encode_utf8(&mut [0; 4]))));
            }
        }
        first = false;
        match literal {
            Some(c) => tail.push(c),
            None => {
                let before = std::mem::take(&mut tail);
                match &head {
                    None => head = Some(before),
                    Some(_) if before.len() > middle.len() => middle = before,
                    Some(_) => {}
                }
            }
        }
    }
    source.push('$');
    // A text with U+FFFD cannot be compared with bytes, because it stands for bytes that are not UTF-8.
    let is_text = |text: &String| has_ends && !text.contains('\u{fffd}');
    let bytes = |text: String| if is_text(&text) { text.into_bytes() } else { vec![] };
    Ok(match shape {
        Shape::Exact => PatternKind::Exact,
        Shape::Prefix => PatternKind::Prefix,
        Shape::Suffix => PatternKind::Suffix,
        Shape::Regex => match if deep { translate(&source) } else { Some(source) } {
            Some(source) => {
                // The characters between brackets are no text.
                let middle = if all.contains(['[', ']']) { String::new() } else { middle };
                let (head, tail, middle) = (bytes(head.unwrap_or_default()), bytes(tail), bytes(middle));
                let literal = [&head, &middle, &tail].into_iter().max_by_key(|text| text.len()).cloned();
                let literal = literal.unwrap_or_default();
                PatternKind::Regex(Glob { source, head, tail, literal, regex: OnceCell::new() })
            }
            None => PatternKind::Broken,
        },
    })
}

/// Checks a pattern like Docker, by Go's `filepath.Match` with the path `.`. That reads on after a `*` only while it
/// matches.
fn check(pattern: &str) -> Result<(), &'static str> {
    let mut rest = pattern;
    while !rest.is_empty() {
        rest = rest.trim_start_matches('*');
        let chunk = &rest[..chunk_length(rest)];
        rest = &rest[chunk.len()..];
        if !is_dot(chunk)? {
            break;
        }
    }
    Ok(())
}

/// Returns the length of the text before the next `*` that is neither escaped nor between brackets.
fn chunk_length(pattern: &str) -> usize {
    let mut in_class = false;
    let mut bytes = pattern.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'[' => in_class = true,
            b']' => in_class = false,
            b'*' if !in_class => return at,
            _ => {}
        }
    }
    pattern.len()
}

/// Returns true if a chunk matches `.`. The whole chunk must be well-formed.
fn is_dot(chunk: &str) -> Result<bool, &'static str> {
    let mut chars = chunk.chars().peekable();
    let mut matched = Vec::new();
    while let Some(c) = chars.next() {
        matched.push(match c {
            '?' => true,
            '[' => class(&mut chars)?.has('.'),
            '\\' => chars.next().ok_or(LAST_BACKSLASH)? == '.',
            c => c == '.',
        });
    }
    Ok(matched == [true])
}

const LAST_BACKSLASH: &str = "it ends with a backslash";
const NO_END: &str = "a '[' has no ']'";

struct CharClass {
    negated: bool,
    ranges: Vec<(char, char)>,
}

/// Reads a character class of `filepath.Match` after its `[`.
fn class(chars: &mut Peekable<Chars>) -> Result<CharClass, &'static str> {
    let member = |chars: &mut Peekable<Chars>| match chars.next() {
        None => Err(NO_END),
        Some('-' | ']') => Err("a class has a '-' or ']' in place of a character"),
        Some('\u{fffd}') => Err("a class has bytes that are not UTF-8"),
        Some('\\') => chars.next().ok_or(LAST_BACKSLASH),
        Some(c) => Ok(c),
    };
    let negated = chars.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        let low = member(chars)?;
        let high = if chars.next_if_eq(&'-').is_some() { member(chars)? } else { low };
        ranges.push((low, high));
        match chars.peek() {
            None => return Err(NO_END),
            Some(']') => break,
            Some(_) => {}
        }
    }
    chars.next();
    Ok(CharClass { negated, ranges })
}

impl CharClass {
    fn has(&self, c: char) -> bool {
        self.ranges.iter().any(|(low, high)| (low..=high).contains(&&c)) != self.negated
    }

    fn write(self, source: &mut String) -> Result<(), &'static str> {
        source.push_str(if self.negated { "[^" } else { "[" });
        for (low, high) in self.ranges {
            if high < low {
                return Err("a class has a range from high to low");
            }
            let _ = write!(source, "\\x{{{:x}}}-\\x{{{:x}}}", low as u32, high as u32);
        }
        source.push(']');
        Ok(())
    }
}
