//! Matches paths with the patterns of `.dockerignore` like `github.com/moby/patternmatcher` 0.6.

pub(super) use super::glob::BadPattern;
pub use super::glob::PatternBounds;
use super::glob::{PatternKind, RegexBudget, bad, compile};
use super::index::PatternIndex;

/// An ordered list of patterns. A later one with `!` excepts paths that an earlier one matched.
pub(super) struct Matcher {
    patterns: Vec<Pattern>,
    index: PatternIndex,
    regexes: RegexBudget,
}

/// The patterns that matched a directory, in their order. They then match everything below too.
pub(super) type Matched = Vec<u32>;

impl Matcher {
    #[cfg(any(test, fuzzing))]
    pub(super) fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Result<Self, BadPattern> {
        Self::within(patterns, PatternBounds::default())
    }

    /// Makes a matcher that fails where a path would need more than the bounds allow.
    pub(super) fn within<P: AsRef<[u8]>>(patterns: &[P], bounds: PatternBounds) -> Result<Self, BadPattern> {
        let patterns = patterns.iter().map(|p| trim(p.as_ref())).filter(|p| !p.is_empty());
        let patterns = patterns.map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        let index = PatternIndex::new(patterns.iter().map(|pattern| (&pattern.text[..], &pattern.kind)));
        Ok(Self { patterns, index, regexes: RegexBudget::new(bounds) })
    }

    /// Returns true if the patterns match `path`. `parent` is the value of `matched` from the call for the directory
    /// of the path, and empty at the top.
    pub(super) fn matches(&self, path: &[u8], parent: &[u32], matched: &mut Matched) -> Result<bool, BadPattern> {
        Ok(self.decide(path, parent, matched)?.is_some())
    }

    /// Returns the number of the pattern without which the patterns would not match `path`, if they match it.
    fn decide(&self, path: &[u8], parent: &[u32], matched: &mut Matched) -> Result<Option<u32>, BadPattern> {
        matched.clear();
        let mut decisive = None;
        let (mut parent, mut tried) = (parent.iter().peekable(), self.index.candidates(path).into_iter().peekable());
        while let Some(next) = parent.peek().into_iter().map(|&&next| next).chain(tried.peek().copied()).min() {
            let is_parents = parent.next_if(|&&number| number == next).is_some();
            tried.next_if_eq(&next);
            let pattern = &self.patterns[next as usize];
            // A pattern that could not change the result is neither tried nor recorded.
            if is_parents || (pattern.exception == decisive.is_some() && pattern.matches(path, &self.regexes)?) {
                matched.push(next);
                decisive = if pattern.exception { None } else { decisive.or(Some(next)) };
            }
        }
        Ok(decisive)
    }

    /// Returns true if the patterns match `path`, whose directories were not matched before.
    pub(super) fn matches_alone(&self, path: &[u8]) -> Result<bool, BadPattern> {
        Ok(self.decide_alone(path)?.is_some())
    }

    /// Returns the pattern without which the patterns would not match `path`, whose directories were not matched before.
    pub(super) fn deciding_pattern(&self, path: &[u8]) -> Result<Option<&[u8]>, BadPattern> {
        Ok(self.decide_alone(path)?.map(|number| &self.patterns[number as usize].text[..]))
    }

    fn decide_alone(&self, path: &[u8]) -> Result<Option<u32>, BadPattern> {
        let (mut parent, mut matched) = (Matched::new(), Matched::new());
        for end in (0..path.len()).filter(|&i| path[i] == b'/') {
            self.matches(&path[..end], &parent, &mut matched)?;
            std::mem::swap(&mut parent, &mut matched);
        }
        self.decide(path, &parent, &mut matched)
    }

    /// Returns true if the walk may skip directories. That requires every pattern (with `exceptions`, every exception)
    /// to be a plain path, for [`Matcher::reaches_into`].
    pub(super) fn is_plain(&self, exceptions: bool) -> bool {
        let glob = |p: &Pattern| p.trunk().iter().any(|b| b"*[]?^\\".contains(b));
        !self.patterns.iter().any(|p| p.exception == exceptions && glob(p))
    }

    /// Returns true if a plain pattern (with `exceptions`, an exception) can match something in `dir`.
    pub(super) fn reaches_into(&self, dir: &[u8], exceptions: bool) -> bool {
        self.patterns.iter().any(|p| {
            let trunk = p.trunk();
            p.exception == exceptions && trunk.starts_with(dir) && matches!(trunk.get(dir.len()), None | Some(b'/'))
        })
    }
}

/// One pattern for paths, or for the names in one directory if it was made by [`Pattern::of_name`].
pub(super) struct Pattern {
    exception: bool,
    /// The cleaned pattern without `!`.
    text: Vec<u8>,
    /// Last byte of each match, if it is known. It rules out most paths quickly.
    last: Option<u8>,
    kind: PatternKind,
}

impl Pattern {
    fn new(pattern: &[u8]) -> Result<Self, BadPattern> {
        let cleaned = clean(pattern);
        let (exception, text) = match cleaned.strip_prefix(b"!") {
            Some(b"") => return Err(bad(pattern, "'!' needs a path")),
            Some(rest) => (true, rest.to_vec()),
            None => (false, cleaned),
        };
        Self::compiled(exception, text, true)
    }

    /// Makes a pattern of Go's `filepath.Match`, where `**` has no special meaning.
    pub(super) fn of_name(pattern: &[u8]) -> Result<Self, BadPattern> {
        Self::compiled(false, pattern.to_vec(), false)
    }

    fn compiled(exception: bool, text: Vec<u8>, deep: bool) -> Result<Self, BadPattern> {
        let kind = compile(&text, deep)?;
        let last = match &kind {
            PatternKind::Exact => text.last(),
            PatternKind::Prefix | PatternKind::Broken => None,
            PatternKind::Suffix => text[2..].last(),
            PatternKind::Regex(glob) => glob.tail.last(),
        };
        Ok(Self { exception, last: last.copied(), text, kind })
    }

    /// Returns the pattern without a trailing `/*` or `/**`.
    fn trunk(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"/**").unwrap_or(&self.text);
        text.strip_suffix(b"/*").unwrap_or(text)
    }

    /// Returns true if a pattern that was made by [`Pattern::of_name`] matches a name.
    pub(super) fn matches_name(&self, name: &[u8]) -> Result<bool, BadPattern> {
        self.matches(name, &RegexBudget::default())
    }

    fn matches(&self, path: &[u8], regexes: &RegexBudget) -> Result<bool, BadPattern> {
        if self.last.is_some() && self.last != path.last().copied() {
            return Ok(false);
        }
        Ok(match &self.kind {
            PatternKind::Exact => path == self.text,
            PatternKind::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            PatternKind::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            PatternKind::Regex(glob) => glob.matches(path, &self.text, regexes)?,
            PatternKind::Broken => return Err(bad(&self.text, "Docker's own matcher cannot read the pattern")),
        })
    }
}

/// Returns the shortest equivalent path like Go's `filepath.Clean`, which is never empty and resolves `..` by name.
pub(super) fn clean(path: &[u8]) -> Vec<u8> {
    let rooted = path.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|&last| last != b"..") => {
                parts.pop();
            }
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    let mut cleaned = if rooted { b"/".to_vec() } else { Vec::new() };
    cleaned.extend(parts.join(&b'/'));
    if cleaned.is_empty() {
        cleaned.push(b'.');
    }
    cleaned
}

/// Removes white space, including Unicode's, from both ends.
fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let bytes = &bytes[start.len() - start.trim_start().len()..];
    let end = bytes.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty()).map_or("", |chunk| chunk.valid());
    &bytes[..bytes.len() - (end.len() - end.trim_end().len())]
}

/// Reads the patterns of a `.dockerignore` file.
pub(super) fn read_ignore_file(content: &[u8]) -> Vec<Vec<u8>> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let lines = content.split(|&b| b == b'\n').filter(|line| !line.starts_with(b"#"));
    let lines = lines.map(trim).filter(|line| !line.is_empty());
    let read = |line: &[u8]| {
        let (mark, path) = line.strip_prefix(b"!").map_or((&b""[..], line), |rest| (&b"!"[..], trim(rest)));
        let path = if path.is_empty() { vec![] } else { clean(path) };
        let path = path.strip_prefix(b"/").filter(|rest| !rest.is_empty()).unwrap_or(&path);
        [mark, path].concat()
    };
    lines.map(read).collect()
}

#[cfg(test)]
#[path = "pattern/tests.rs"]
mod tests;
