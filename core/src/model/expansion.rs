//! The words of a Dockerfile's instruction as a builder reads them: with quotes, escapes and variables replaced
//! (<https://docs.docker.com/reference/dockerfile/#environment-replacement>).
//!
//! All of it is bounded, because a few lines of `ARG A=$B$B` would make a value of gigabytes.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// Largest expanded word, and largest sum of the names and values of one set of variables, in bytes. An address or an
/// image's name has less than 300.
const LARGEST: usize = 16 << 10;
/// Depth of `${A:-${B:-…}}` up to which a word is expanded.
const DEEPEST: usize = 8;

/// Variables that are known, in 16 KiB at most.
#[derive(Debug, Clone, Default)]
pub struct Variables {
    values: BTreeMap<String, String>,
    size: usize,
}

impl Variables {
    /// Sets a variable. One whose value is `None`, or for which there is no room, is not known any more.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        if let Some(old) = self.values.remove(name) {
            self.size -= name.len() + old.len();
        }
        let size = self.size + name.len() + value.as_ref().map_or(0, String::len);
        if let Some(value) = value.filter(|_| size <= LARGEST) {
            self.size = size;
            self.values.insert(name.into(), value);
        }
    }

    pub fn get(&self, name: &str) -> Option<&String> {
        self.values.get(name)
    }
}

/// Splits a text at spaces that are neither quoted nor escaped. The words keep their quotes.
pub fn split_words(text: &str, escape: char) -> Vec<String> {
    let (mut words, mut word, mut quote, mut chars) = (Vec::new(), String::new(), None, text.chars());
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, None) if c.is_whitespace() => {
                words.push(std::mem::take(&mut word));
                continue;
            }
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        word.push(c);
        if c == escape && quote != Some('\'') {
            word.extend(chars.next());
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// Returns a word without its quotes and escapes, and with its variables replaced. Returns `None` if `value` knows one of
/// them not, for a form that only the builder can replace, and for a word that becomes too long.
pub fn expand(word: &str, escape: char, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    Expansion { chars: word.chars().peekable(), escape, value, depth: 0 }.until(None)
}

struct Expansion<'a> {
    chars: Peekable<Chars<'a>>,
    escape: char,
    value: &'a dyn Fn(&str) -> Option<String>,
    depth: usize,
}

impl Expansion<'_> {
    /// Reads up to this character, or up to the end of the word.
    fn until(&mut self, end: Option<char>) -> Option<String> {
        let mut text = String::new();
        let mut quoted = false;
        while text.len() <= LARGEST {
            let Some(c) = self.chars.next() else { return end.is_none().then_some(text) };
            match c {
                c if Some(c) == end => return Some(text),
                '"' => quoted = !quoted,
                '\'' if !quoted => text.extend(self.chars.by_ref().take_while(|c| *c != '\'')),
                '$' => text += &self.variable()?,
                c if c == self.escape => text.extend(self.chars.next()),
                c => text.push(c),
            }
        }
        None
    }

    /// Reads what follows a `$`.
    fn variable(&mut self) -> Option<String> {
        if self.chars.next_if_eq(&'{').is_none() {
            let name = self.name();
            return if name.is_empty() { Some("$".into()) } else { (self.value)(&name) };
        }
        let name = self.name();
        let mut next = self.chars.next()?;
        if next == '}' {
            return (self.value)(&name);
        }
        let value = (self.value)(&name);
        let counts = if next == ':' {
            next = self.chars.next()?;
            value.as_ref().is_some_and(|value| !value.is_empty())
        } else {
            value.is_some()
        };
        self.depth += 1;
        let other = (self.depth <= DEEPEST).then(|| self.until(Some('}'))).flatten()?;
        self.depth -= 1;
        match next {
            '-' => {
                if counts {
                    value
                } else {
                    Some(other)
                }
            }
            '+' => Some(if counts { other } else { String::new() }),
            '?' => value,
            _ => None,
        }
    }

    fn name(&mut self) -> String {
        std::iter::from_fn(|| self.chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_expanded_as_a_builder_does_it() {
        let value =
            |name: &str| ["A=1", "E="].iter().find_map(|v| v.strip_prefix(name)?.strip_prefix('=')).map(Into::into);
        for (word, expanded) in [
            ("a${A}b$A", Some("a1b1")),
            ("'$A'\"$A x\"", Some("$A1 x")),
            ("\\$A\\b", Some("$Ab")),
            ("${N:-d}${E:-d}${E-d}${A:-d}", Some("dd1")),
            ("${A:+y}${E:+y}${E+y}${N:+y}", Some("yy")),
            ("${N:-${N:-$A}}", Some("1")),
            ("${A:?no}$", Some("1$")),
            ("$N", None),
            ("${N}", None),
            ("${A#1}", None),
            ("${A", None),
        ] {
            assert_eq!(expand(word, '\\', &value).as_deref(), expanded, "{word}");
        }
        assert_eq!(expand("`$A", '`', &value).as_deref(), Some("$A"));
        assert_eq!(split_words("a \"b c\"d  'e \\' f\\ g", '\\'), ["a", "\"b c\"d", "'e \\'", "f\\ g"]);
    }

    #[test]
    fn long_deep_and_growing_words_are_left_alone() {
        let value = |_: &str| Some("x".repeat(1000));
        assert_eq!(expand(&"$A".repeat(1_000_000), '\\', &value), None);
        assert_eq!(expand(&"${A:-".repeat(100_000), '\\', &value), None);
        let mut variables = Variables::default();
        variables.set("A0", Some("x".into()));
        for n in 0..100 {
            let double = expand(&format!("$A{n}$A{n}"), '\\', &|name| variables.get(name).cloned());
            variables.set(&format!("A{}", n + 1), double);
        }
        assert!(variables.size <= LARGEST && variables.get("A5").is_some() && variables.get("A100").is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "[-$:{}+?'\"\\\\a= ]{0,30}") {
            expand(&text, '\\', &|_| Some("v".into()));
            split_words(&text, '\\');
        }
    }
}
