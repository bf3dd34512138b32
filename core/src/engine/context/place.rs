//! Finds where a file is that `COPY` did not find in the context.

use super::pattern::{Matcher, PatternBounds};
use super::tree::Tree;
use crate::git::{PathEnd, compute};

/// The place of such a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::engine) enum FilePlace {
    /// The file is in the context after all.
    Context,
    /// This pattern of `.dockerignore` leaves it out.
    Ignored(String),
    /// The file is in the repository, and the context is another folder.
    Outside,
    /// The context has a file of this name, which differs in its case.
    OtherCase(String),
    Nowhere,
}

impl Tree {
    /// Returns the place of the file or folder at a path of the context.
    pub(in crate::engine) async fn place_of(&self, path: &[u8]) -> FilePlace {
        let is_there = |found: Result<PathEnd, _>| matches!(found, Ok(PathEnd::File { .. } | PathEnd::Folder));
        if is_there(self.find_among(self.context(), path).await) {
            let (excludes, path, bounds) = (self.excludes(), path.to_vec(), self.bounds);
            let excluding = compute(move || excluding_pattern(&excludes, &path, bounds)).await;
            return excluding.map_or(FilePlace::Context, FilePlace::Ignored);
        }
        if self.is_folder() && is_there(self.find(path).await) {
            return FilePlace::Outside;
        }
        let other = self.context().iter().find(|entry| entry.path.eq_ignore_ascii_case(path));
        other
            .map_or(FilePlace::Nowhere, |entry| FilePlace::OtherCase(String::from_utf8_lossy(&entry.path).into_owned()))
    }
}

/// Returns the pattern by which a path is excluded: the last one without which it would not be.
fn excluding_pattern(excludes: &[Vec<u8>], path: &[u8], bounds: PatternBounds) -> Option<String> {
    let matcher = Matcher::within(excludes, bounds).ok()?;
    let pattern = matcher.deciding_pattern(path).ok().flatten()?;
    Some(String::from_utf8_lossy(pattern).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deciding_pattern_is_found() {
        let excludes = ["*.log", "!keep.log", "build", "keep.log"].map(|pattern| pattern.as_bytes().to_vec());
        let pattern = |path: &str| excluding_pattern(&excludes, path.as_bytes(), PatternBounds::default());
        assert_eq!(pattern("a.log").as_deref(), Some("*.log"));
        assert_eq!(pattern("build/out/x").as_deref(), Some("build"));
        assert_eq!(pattern("keep.log").as_deref(), Some("keep.log"));
        assert_eq!(pattern("main.rs"), None);
    }
}
