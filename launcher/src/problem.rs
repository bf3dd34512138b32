//! Sentences that say what is wrong, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: PathBuf,
    /// Number of the line, from 1.
    pub line: usize,
}

impl Place {
    pub fn new(file: &Path, line: usize) -> Self {
        Self { file: file.into(), line }
    }

    /// Returns a problem with this line.
    pub fn problem(&self, text: impl Into<String>) -> Problem {
        Problem(format!("{self}: {}", text.into()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// The sentence that a user reads when something fails. It names the file and the line, where there are some.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem(String);

impl Problem {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns a problem with a file, or with a program.
    pub fn with(path: &Path, error: impl fmt::Display) -> Self {
        Self(format!("{}: {error}", path.display()))
    }

    /// Returns a problem with a symbolic link, on the way to what is read or at its end.
    pub fn lost_link(link: &Path) -> Self {
        Self::with(link, "The link leads nowhere. Mount what it leads to, or remove it.")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Problem {}
