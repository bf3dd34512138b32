//! A message in parts, of which an error and a row of docs/troubleshooting.md are made.

use std::fmt::Display;

use super::{Fault, GitError};
use crate::model::Advice;

/// A message with a `…` for each detail that differs from case to case.
#[derive(Debug)]
pub(in crate::git) struct ErrorMessage {
    /// The event and its place.
    pub what: &'static str,
    /// Explanation of the message for the documents; an error does not show it.
    pub cause: &'static str,
    /// The move, and whose it is. Its details follow those of `what`.
    pub cure: &'static str,
    pub fault: Fault,
}

impl ErrorMessage {
    /// Makes an error with Git's own exit code (128).
    pub fn error(&self, details: &[&dyn Display]) -> GitError {
        GitError { exit_code: 128, message: self.text(details), fault: self.fault }
    }

    /// Returns `WHAT: CURE` with the details in the places of the `…`.
    pub fn text(&self, details: &[&dyn Display]) -> String {
        let template = format!("{}: {}", self.what, self.cure);
        debug_assert_eq!(template.matches('…').count(), details.len(), "{template}");
        let mut details = details.iter();
        let parts = template.split_inclusive('…').map(|part| match part.strip_suffix('…') {
            Some(text) => format!("{text}{}", details.next().map(ToString::to_string).unwrap_or_default()),
            None => part.to_owned(),
        });
        parts.collect()
    }

    pub fn advice(&self) -> Advice {
        Advice { code: self.fault.class().as_str(), text: self.what, cause: self.cause, cure: self.cure }
    }
}
