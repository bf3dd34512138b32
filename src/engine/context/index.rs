//! Finds the few patterns that can match a path among thousands, by the literal text that each of them requires.

use std::collections::{BTreeSet, HashMap};

use super::glob::PatternKind;

/// Patterns by the literal text without which they match nothing. Each pattern stands in one of the tables.
#[derive(Default)]
pub(super) struct PatternIndex {
    /// By the whole path.
    paths: HashMap<Vec<u8>, Vec<u32>>,
    /// By the path's last part.
    names: HashMap<Vec<u8>, Vec<u32>>,
    /// By the beginning of the path.
    heads: Affixes,
    /// By the end of the path.
    tails: Affixes,
    /// By the beginning of the path's last part.
    name_heads: Affixes,
    /// Patterns without such a text.
    others: Vec<u32>,
}

/// Patterns by a beginning, or by an end.
#[derive(Default)]
struct Affixes {
    lengths: BTreeSet<usize>,
    patterns: HashMap<Vec<u8>, Vec<u32>>,
}

impl Affixes {
    fn add(&mut self, affix: &[u8], pattern: u32) {
        self.lengths.insert(affix.len());
        self.patterns.entry(affix.to_vec()).or_default().push(pattern);
    }

    /// Adds the patterns of each affix of `text`, which `cut` takes from it by its length.
    fn find<'a>(&self, text: &'a [u8], cut: impl Fn(&'a [u8], usize) -> &'a [u8], found: &mut Vec<u32>) {
        for &length in self.lengths.range(..=text.len()) {
            found.extend(self.patterns.get(cut(text, length)).into_iter().flatten());
        }
    }
}

impl PatternIndex {
    /// Adds a pattern with this cleaned text.
    pub(super) fn add(&mut self, pattern: u32, text: &[u8], kind: &PatternKind) {
        let mut by = |table: &mut Affixes, affix: &[u8]| match affix {
            [] => self.others.push(pattern),
            affix => table.add(affix, pattern),
        };
        match kind {
            PatternKind::Exact => self.paths.entry(text.to_vec()).or_default().push(pattern),
            PatternKind::Prefix => by(&mut self.heads, &text[..text.len() - 2]),
            PatternKind::Suffix => match name(&text[2..]) {
                // The path ends with these parts, or consists of them.
                Some(name) => self.names.entry(name.to_vec()).or_default().push(pattern),
                None => by(&mut self.tails, &text[2..]),
            },
            PatternKind::Regex(glob) => {
                let name_head = name_head(text);
                match glob.head.len().max(glob.tail.len()).max(name_head.len()) {
                    longest if longest == name_head.len() => by(&mut self.name_heads, name_head),
                    longest if longest == glob.head.len() => by(&mut self.heads, &glob.head),
                    _ => by(&mut self.tails, &glob.tail),
                }
            }
            PatternKind::Broken => self.others.push(pattern),
        }
    }

    /// Returns the patterns that may match a path, in their order. All others do not.
    pub(super) fn candidates(&self, path: &[u8]) -> Vec<u32> {
        let mut found = self.others.clone();
        let last = name(path).unwrap_or(path);
        found.extend(self.paths.get(path).into_iter().chain(self.names.get(last)).flatten());
        self.heads.find(path, |path, length| &path[..length], &mut found);
        self.tails.find(path, |path, length| &path[path.len() - length..], &mut found);
        self.name_heads.find(last, |name, length| &name[..length], &mut found);
        found.sort_unstable();
        found
    }
}

/// Returns the part after the last `/`, if there is one.
fn name(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|at| &path[at + 1..])
}

/// Returns the text with which the last part of each path begins that a pattern with wildcards matches. It is empty if
/// that is not sure.
fn name_head(text: &[u8]) -> &[u8] {
    let last = name(text).unwrap_or(text);
    let before = &text[..text.len() - last.len()];
    // `**/` also stands for nothing, so the part begins there only behind another `/` or at the start.
    let is_begin = match before.strip_suffix(b"**/") {
        Some(rest) => rest.is_empty() || rest.ends_with(b"/"),
        None => true,
    };
    let is_known = std::str::from_utf8(text).is_ok_and(|text| !text.contains(['\u{fffd}', '|', '{', '}', '\\', '[', ']', '^']));
    if !is_known || !is_begin || last.windows(2).any(|pair| pair == b"**") {
        return b"";
    }
    &last[..last.iter().position(|byte| b"*?".contains(byte)).unwrap_or(last.len())]
}
