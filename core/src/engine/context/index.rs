//! Finds the few patterns that can match a path among thousands, by the literal text that each of them requires.

use std::collections::HashMap;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};

use super::glob::PatternKind;

/// Patterns by the literal text without which they match nothing. Each pattern stands in one of the tables.
#[derive(Default)]
pub(super) struct PatternIndex {
    /// By the whole path.
    paths: HashMap<Vec<u8>, Vec<u32>>,
    /// By the path's last part.
    names: HashMap<Vec<u8>, Vec<u32>>,
    /// Numbers in `literals` of texts that a path must have somewhere.
    known: HashMap<Vec<u8>, usize>,
    literals: Vec<Vec<u32>>,
    /// Finds these texts; `None` if there are none.
    finder: Option<AhoCorasick>,
    /// Patterns without such a text.
    others: Vec<u32>,
}

impl PatternIndex {
    /// Makes an index of patterns, each with its cleaned text.
    pub(super) fn new<'a>(patterns: impl Iterator<Item = (&'a [u8], &'a PatternKind)>) -> Self {
        let mut index = Self::default();
        for (number, (text, kind)) in (0..).zip(patterns) {
            index.add(number, text, kind);
        }
        let mut texts: Vec<_> = std::mem::take(&mut index.known).into_iter().collect();
        texts.sort_unstable_by_key(|(_, number)| *number);
        if !texts.is_empty() {
            let mut builder = AhoCorasick::builder();
            let builder = builder.kind(Some(AhoCorasickKind::ContiguousNFA)).match_kind(MatchKind::Standard);
            index.finder = builder.build(texts.iter().map(|(text, _)| text)).ok();
            if index.finder.is_none() {
                // The texts are gigabytes, so every pattern is tried.
                index.others.extend(index.literals.drain(..).flatten());
            }
        }
        index
    }

    fn add(&mut self, pattern: u32, text: &[u8], kind: &PatternKind) {
        let literal = match kind {
            PatternKind::Exact => return self.paths.entry(text.to_vec()).or_default().push(pattern),
            PatternKind::Prefix => &text[..text.len() - 2],
            PatternKind::Suffix => match name(&text[2..]) {
                // The path ends with these parts, or consists of them.
                Some(name) => return self.names.entry(name.to_vec()).or_default().push(pattern),
                None => &text[2..],
            },
            PatternKind::Regex(glob) => &glob.literal,
            PatternKind::Broken => b"",
        };
        if literal.is_empty() {
            return self.others.push(pattern);
        }
        let number = *self.known.entry(literal.to_vec()).or_insert(self.literals.len());
        if number == self.literals.len() {
            self.literals.push(Vec::new());
        }
        self.literals[number].push(pattern);
    }

    /// Returns the patterns that may match a path, in their order. All others do not.
    pub(super) fn candidates(&self, path: &[u8]) -> Vec<u32> {
        let mut found = self.others.clone();
        let last = name(path).unwrap_or(path);
        found.extend(self.paths.get(path).into_iter().chain(self.names.get(last)).flatten());
        for literal in self.finder.iter().flat_map(|finder| finder.find_overlapping_iter(path)) {
            found.extend(&self.literals[literal.pattern().as_usize()]);
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Returns the part after the last `/`, if there is one.
fn name(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|at| &path[at + 1..])
}
