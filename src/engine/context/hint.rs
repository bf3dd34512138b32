//! Signs that a build misses `.git`, and what to do about it. The engine's own words do not say that it was never there.

use std::sync::{Mutex, PoisonError};

use crate::model::LogSink;

use super::pattern::{Matcher, Pattern};
use crate::engine::api::errors::{EngineError, ErrorKind, say};
use crate::engine::build::Built;
use crate::engine::buildkit::filesync::Tree;

/// Git's words in a step's output.
const NO_REPOSITORY: &[u8] = b"not a git repository";
const GIT_DIR: &[u8] = b".git";

const LEFT_OUT: &str = ".git is left out of the context: to have it, give the build argument BUILDKIT_CONTEXT_KEEP_GIT_DIR=1, \
    the job's option keepGitDir (--keep-git-dir), or set KEEP_GIT_DIR=1";
const IN_A_FOLDER: &str = ".git is left out of the context, because that is a folder of the repository: make the root the \
    context, or give what the step needs as a build argument";
const IGNORED: &str = ".git is left out of the context by .dockerignore: remove the pattern that matches it";

/// A log that listens for Git's words.
pub(in crate::engine) struct Listening<'a> {
    log: &'a dyn LogSink,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    is_heard: bool,
    /// The end of what was written, shorter than the words.
    tail: Vec<u8>,
}

impl<'a> Listening<'a> {
    pub(in crate::engine) fn new(log: &'a dyn LogSink) -> Self {
        Self { log, heard: Mutex::default() }
    }

    fn has_heard(&self) -> bool {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).is_heard
    }
}

impl LogSink for Listening<'_> {
    fn write(&self, bytes: &[u8]) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if !heard.is_heard {
            heard.tail.extend(bytes);
            heard.is_heard = heard.tail.windows(NO_REPOSITORY.len()).any(|words| words == NO_REPOSITORY);
            let rest = heard.tail.len().saturating_sub(NO_REPOSITORY.len() - 1);
            heard.tail.drain(..rest);
        }
        self.log.write(bytes);
    }

    fn alive(&self) {
        self.log.alive();
    }
}

/// Says in the log that `.git` is not there, if the build asked for it; and in the error, if that is why it failed.
pub(in crate::engine) fn about_git_dir(
    tree: &Tree,
    log: &Listening<'_>,
    built: Result<Built, EngineError>,
) -> Result<Built, EngineError> {
    let heard = log.has_heard();
    let is_cause = |e: &EngineError| match e.exit_code {
        Some(_) => heard,
        None => names_git_dir(&e.message),
    };
    let is_cause = built.as_ref().err().is_some_and(|e| e.kind == ErrorKind::Build && is_cause(e));
    if !(is_cause || heard || tree.misses_git_dir()) {
        return built;
    }
    let hint = match tree.context().iter().any(|entry| entry.path == GIT_DIR) {
        true if tree.ignores_git_dir() => IGNORED,
        true => return built,
        false if tree.is_folder() => IN_A_FOLDER,
        false => LEFT_OUT,
    };
    say(log, hint);
    match built {
        Err(e) if is_cause => Err(EngineError { message: format!("{}; {hint}", e.message), ..e }),
        built => built,
    }
}

/// True if a path that the engine follows, as a `COPY` names it, is in `.git` or a pattern for it, as `.git*` is.
pub(in crate::engine) fn asks_for_git_dir(path: &[u8]) -> bool {
    let first = path.split(|&b| b == b'/').find(|part| !matches!(*part, b"" | b"."));
    first.is_some_and(|name| {
        name.starts_with(b".g") && Pattern::of_name(name).and_then(|pattern| pattern.matches(GIT_DIR)).unwrap_or(false)
    })
}

/// True if `.dockerignore`'s patterns leave `.git` out.
pub(in crate::engine) fn excludes_git_dir(patterns: &[Vec<u8>]) -> bool {
    Matcher::new(patterns).and_then(|matcher| matcher.matches_alone(GIT_DIR)).unwrap_or(false)
}

/// True if an engine's message names `.git` itself, and not `x.git` or `.github`.
fn names_git_dir(message: &str) -> bool {
    message.match_indices(".git").any(|(at, found)| {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
        !message[..at].ends_with(is_part) && !message[at + found.len()..].starts_with(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Nothing;
    impl LogSink for Nothing {
        fn write(&self, _: &[u8]) {}
    }

    #[test]
    fn words_are_heard_wherever_they_break() {
        let text = b"fatal: not a git repository (or any of the parent directories): .git\n";
        for at in 0..text.len() {
            let log = Listening::new(&Nothing);
            log.write(&text[..at]);
            log.write(b"");
            log.write(&text[at..]);
            assert!(log.has_heard(), "{at}");
        }
        let log = Listening::new(&Nothing);
        log.write(b"not a git");
        log.write(b" repositor");
        assert!(!log.has_heard());
    }

    #[test]
    fn git_dir_is_told_from_its_neighbours() {
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
