//! The build context: the tree of a build, and the entries of it that the engine gets by Docker's own rules for
//! `.dockerignore`, patterns and links.

pub(super) mod filter;
pub(super) mod follow_paths;
pub(super) mod git_dir;
mod git_dir_patterns;
mod glob;
mod go_regex;
mod index;
mod pattern;
pub(super) mod place;
pub(super) mod tar;
pub(super) mod tree;

pub use pattern::PatternBounds;

#[cfg(fuzzing)]
pub(super) fn fuzz(ignore_file: &[u8]) {
    if let Ok(matcher) = pattern::Matcher::new(&pattern::read_ignore_file(ignore_file)) {
        for path in [&b"a"[..], b"a/b.o", b"target/debug/x"] {
            let _ = matcher.matches(path, &[], &mut pattern::Matched::new());
        }
    }
}
