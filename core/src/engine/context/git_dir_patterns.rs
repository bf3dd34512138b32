//! Recognizes `.git` in paths, patterns and messages.

use super::pattern::{Matcher, Pattern, PatternBounds};

pub(super) const GIT_DIR: &[u8] = b".git";

/// Returns true if a path that a `COPY` names is in `.git`, or is a pattern that matches it, such as `.git*`.
pub(super) fn asks_for_git_dir(path: &[u8]) -> bool {
    let first = path.split(|&b| b == b'/').find(|part| !matches!(*part, b"" | b"."));
    first.is_some_and(|name| {
        name.starts_with(b".g")
            && Pattern::of_name(name).and_then(|pattern| pattern.matches_name(GIT_DIR)).unwrap_or(false)
    })
}

/// Returns true if the patterns of `.dockerignore` exclude `.git`.
pub(super) fn excludes_git_dir(patterns: &[Vec<u8>], bounds: PatternBounds) -> bool {
    Matcher::within(patterns, bounds).and_then(|matcher| matcher.matches_alone(GIT_DIR)).unwrap_or(false)
}

/// Returns true if an engine's message names `.git` itself, and not `x.git` or `.github`.
pub(super) fn names_git_dir(message: &str) -> bool {
    message.match_indices(".git").any(|(at, found)| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        !message[..at].ends_with(is_part) && !message[at + found.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_dir_is_distinguished_from_similar_names() {
        for path in [".git", "./.git/HEAD", "/.git/", ".git*", ".gi[t]", ".git/refs/*"] {
            assert!(asks_for_git_dir(path.as_bytes()), "{path}");
        }
        for path in [".github", ".gitignore", "*", ".*", "a/.git", "x.git", "", "."] {
            assert!(!asks_for_git_dir(path.as_bytes()), "{path}");
        }
        for message in [
            "failed to compute cache key: \"/.git\" not found: not found",
            "COPY failed: file not found in build context or excluded by .dockerignore: stat .git: file does not exist",
            "COPY failed: stat /var/lib/docker/tmp/x/.git/HEAD: no such file or directory",
        ] {
            assert!(names_git_dir(message), "{message}");
        }
        for message in ["stat .github: file does not exist", "https://example.org/a.git", "stat .gitignore: x", ""] {
            assert!(!names_git_dir(message), "{message}");
        }
    }
}
