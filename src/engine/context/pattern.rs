//! Patterns of `.dockerignore`, as `github.com/moby/patternmatcher` 0.6 reads them.

pub(in crate::engine) use super::glob::BadPattern;
use super::glob::{Kind, bad, compile};

/// An ordered list of patterns; with `!` a later one takes back what an earlier one matched.
pub(super) struct Matcher {
    patterns: Vec<Pattern>,
}

/// For each pattern, whether it matched a directory: it then matches all below.
pub(super) type Matched = Vec<bool>;

impl Matcher {
    pub(in crate::engine) fn new<P: AsRef<[u8]>>(patterns: &[P]) -> Result<Self, BadPattern> {
        let patterns = patterns.iter().map(|p| trim(p.as_ref())).filter(|p| !p.is_empty());
        let patterns = patterns.map(Pattern::new).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { patterns })
    }

    /// Whether `path` is matched. `parent` is what this gave for its directory in `matched`;
    /// empty at the top.
    pub(in crate::engine) fn matches(
        &self,
        path: &[u8],
        parent: &[bool],
        matched: &mut Matched,
    ) -> Result<bool, BadPattern> {
        let mut result = false;
        matched.clear();
        for (i, pattern) in self.patterns.iter().enumerate() {
            // A pattern that could not change the result is not tried, nor remembered.
            let hit =
                parent.get(i).is_some_and(|&hit| hit) || (pattern.exception == result && pattern.matches(path)?);
            matched.push(hit);
            if hit {
                result = !pattern.exception;
            }
        }
        Ok(result)
    }

    /// The same for a path whose directories were not asked about.
    pub(super) fn matches_alone(&self, path: &[u8]) -> Result<bool, BadPattern> {
        let (mut parent, mut matched) = (Matched::new(), Matched::new());
        for end in (0..path.len()).filter(|&i| path[i] == b'/') {
            self.matches(&path[..end], &parent, &mut matched)?;
            std::mem::swap(&mut parent, &mut matched);
        }
        self.matches(path, &parent, &mut matched)
    }

    /// Whether the walk may pass over directories: every pattern (every exception, if
    /// `exceptions`) is a plain path, so that [`Matcher::reaches_into`] can tell.
    pub(super) fn is_plain(&self, exceptions: bool) -> bool {
        let glob = |p: &Pattern| p.trunk().iter().any(|b| b"*[]?^\\".contains(b));
        !self.patterns.iter().any(|p| p.exception == exceptions && glob(p))
    }

    /// Whether a plain pattern (an exception, if `exceptions`) can match something in `dir`.
    pub(super) fn reaches_into(&self, dir: &[u8], exceptions: bool) -> bool {
        self.patterns.iter().any(|p| {
            let trunk = p.trunk();
            p.exception == exceptions && trunk.starts_with(dir) && matches!(trunk.get(dir.len()), None | Some(b'/'))
        })
    }
}

/// One pattern for paths or, from [`Pattern::of_name`], for the names in one directory.
pub(super) struct Pattern {
    exception: bool,
    /// Cleaned, without `!`.
    text: Vec<u8>,
    /// The byte that each match ends with, if it is known: most paths are told apart by it.
    last: Option<u8>,
    kind: Kind,
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

    /// As Go's `filepath.Match` has it, where `**` is nothing special.
    pub(super) fn of_name(pattern: &[u8]) -> Result<Self, BadPattern> {
        Self::compiled(false, pattern.to_vec(), false)
    }

    fn compiled(exception: bool, text: Vec<u8>, deep: bool) -> Result<Self, BadPattern> {
        let kind = compile(&text, deep)?;
        let last = match &kind {
            Kind::Exact => text.last(),
            Kind::Prefix | Kind::Broken => None,
            Kind::Suffix => text[2..].last(),
            Kind::Regex(glob) => glob.tail.last(),
        };
        Ok(Self { exception, last: last.copied(), text, kind })
    }

    /// Without a last `/*` or `/**`.
    fn trunk(&self) -> &[u8] {
        let text = self.text.strip_suffix(b"/**").unwrap_or(&self.text);
        text.strip_suffix(b"/*").unwrap_or(text)
    }

    pub(in crate::engine) fn matches(&self, path: &[u8]) -> Result<bool, BadPattern> {
        if self.last.is_some() && self.last != path.last().copied() {
            return Ok(false);
        }
        Ok(match &self.kind {
            Kind::Exact => path == self.text,
            Kind::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Kind::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix(b"/") == Some(path)
            }
            Kind::Regex(glob) => glob.matches(path)?,
            Kind::Broken => return Err(bad(&self.text, "Docker's own matcher cannot read it")),
        })
    }
}

/// The shortest equivalent path, as Go's `filepath.Clean`: never empty, `..` resolved by name.
pub(in crate::engine) fn clean(path: &[u8]) -> Vec<u8> {
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

/// Without white space at its ends, Unicode's too.
fn trim(bytes: &[u8]) -> &[u8] {
    let start = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let bytes = &bytes[start.len() - start.trim_start().len()..];
    let end = bytes.utf8_chunks().last().filter(|chunk| chunk.invalid().is_empty()).map_or("", |chunk| chunk.valid());
    &bytes[..bytes.len() - (end.len() - end.trim_end().len())]
}

/// The patterns of a `.dockerignore` file.
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
