//! Explains a build's need of `.git`, because the engine's own messages do not say that it was never in the context.

use std::sync::{Mutex, PoisonError};

use super::git_dir_patterns::{GIT_DIR, names_git_dir};
use super::tree::Tree;
use crate::engine::advice::{self, with_cure};
use crate::engine::api::errors::{EngineError, write_line};
use crate::engine::api::kind::ErrorKind;
use crate::model::LogSink;

/// Message of Git in a step's output.
const NO_REPOSITORY: &[u8] = b"not a git repository";

/// A log that detects Git's message.
pub(in crate::engine) struct GitErrorDetector<'a> {
    log: &'a dyn LogSink,
    search: Mutex<MessageSearch>,
}

#[derive(Default)]
struct MessageSearch {
    is_found: bool,
    /// End of the output so far, shorter than the message.
    tail: Vec<u8>,
}

impl<'a> GitErrorDetector<'a> {
    pub(in crate::engine) fn new(log: &'a dyn LogSink) -> Self {
        Self { log, search: Mutex::default() }
    }

    fn has_found(&self) -> bool {
        self.search.lock().unwrap_or_else(PoisonError::into_inner).is_found
    }
}

impl LogSink for GitErrorDetector<'_> {
    fn write(&self, bytes: &[u8]) {
        let mut search = self.search.lock().unwrap_or_else(PoisonError::into_inner);
        if !search.is_found {
            search.tail.extend(bytes);
            search.is_found = search.tail.windows(NO_REPOSITORY.len()).any(|window| window == NO_REPOSITORY);
            let rest = search.tail.len().saturating_sub(NO_REPOSITORY.len() - 1);
            search.tail.drain(..rest);
        }
        self.log.write(bytes);
    }

    fn alive(&self) {
        self.log.alive();
    }

    fn masked(&self, text: &str) -> String {
        self.log.masked(text)
    }
}

/// Writes to the log that the context has no `.git` if the build needed it, and adds that to the error if it is the
/// cause.
pub(in crate::engine) async fn explain_git_dir<T>(
    tree: &Tree,
    log: &GitErrorDetector<'_>,
    result: Result<T, EngineError>,
) -> Result<T, EngineError> {
    let has_git_failed = log.has_found();
    let is_cause = |e: &EngineError| match e.exit_code {
        Some(_) => has_git_failed,
        None => names_git_dir(&e.message),
    };
    let is_cause = result.as_ref().err().is_some_and(|e| e.kind == ErrorKind::Build && is_cause(e));
    if !(is_cause || has_git_failed || tree.misses_git_dir()) {
        return result;
    }
    let hint = match tree.context().iter().any(|entry| entry.path == GIT_DIR) {
        true if tree.ignores_git_dir().await => advice::GIT_DIR_IGNORED,
        true => return result,
        false if tree.is_folder() => advice::GIT_DIR_OUTSIDE,
        false => advice::GIT_DIR_LEFT_OUT,
    };
    let hint = with_cure(&hint, &[]);
    write_line(log, &hint);
    match result {
        Err(e) if is_cause => Err(EngineError { message: format!("{}; {hint}", e.message), ..e }),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct NoLog;
    impl LogSink for NoLog {
        fn write(&self, _: &[u8]) {}
    }

    #[test]
    fn the_message_is_found_wherever_writes_end() {
        let text = b"fatal: not a git repository (or any of the parent directories): .git\n";
        for at in 0..text.len() {
            let log = GitErrorDetector::new(&NoLog);
            log.write(&text[..at]);
            log.write(b"");
            log.write(&text[at..]);
            assert!(log.has_found(), "{at}");
        }
        let log = GitErrorDetector::new(&NoLog);
        log.write(b"not a git");
        log.write(b" repositor");
        assert!(!log.has_found());
    }
}
