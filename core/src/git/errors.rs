//! Errors of Git, and what Git and ssh say on stderr, in the words of someone who must do something about it.

mod contents;
mod explain;
mod message;
mod stderr;

use std::fmt::Display;

use super::{GitRef, RepoSource};
use crate::model::{Advice, FailureClass};
use crate::process::ProcessError;
pub(super) use contents::{
    BROKEN_TARBALL, DISK_RESERVE, KILLED, LARGE_GITMODULES, LFS_LOGIN, LFS_TROUBLE, MANY_REFS, MISSING_LFS_FILE,
    NO_LFS, NO_LFS_SERVER, NO_SUBMODULE_URL, NO_SUBMODULE_VALUE, NO_TARBALL, OUT_OF_CPU_TIME, OUT_OF_MEMORY,
    TARBALL_REFUSED, TARBALL_TROUBLE, UNSAFE_TARBALL, WRONG_GITMODULES,
};
pub(super) use explain::{explain, refused_before};
use message::ErrorMessage;
pub(super) use stderr::{IdRefusal, id_refusal, is_other_format, last_words};

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// Exit code of Git (128 for most failures), or 1 for a failure of our own.
    pub exit_code: i32,
    /// One line that says what is wrong, where, and what to do.
    pub message: String,
    pub fault: Fault,
}

/// The side that failed, which decides whether another try may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The request names something that does not exist or may not be read: another try does not help.
    Request,
    /// The server shows no such repository to us: its name is wrong, or our key or token may not read it.
    Hidden,
    /// The server refuses the deploy key: another try does not help.
    Key,
    /// A login, a host key, a certificate or a setting is missing, wrong or refused: another try does not help.
    Config,
    /// The server or the way to it failed (unreachable, connection lost, 5xx): another try may help.
    Server,
    /// The server dropped the connection before it let ssh in, as sshd does to an address that it holds back for a
    /// while: several tries, minutes apart, may help.
    Throttled,
    /// This machine failed: its disk, its memory, its programs or its stored files. Another try may help.
    Host,
}

impl Fault {
    /// Classifies an answer of a server: `is_passing` means that the same question may be answered later.
    pub(super) fn server_if(is_passing: bool) -> Self {
        if is_passing { Self::Server } else { Self::Request }
    }

    /// Returns the failure class of a job that ends with this fault.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Request | Self::Hidden => FailureClass::Source,
            Self::Key | Self::Config => FailureClass::Config,
            Self::Server | Self::Throttled => FailureClass::GitHost,
            Self::Host => FailureClass::LostWorker,
        }
    }
}

/// Failure of a command on one of our own repositories.
#[derive(Debug, thiserror::Error)]
pub(super) enum RepoError {
    /// Git said something that is not known to be about the other side: a full fetch may repair the repository.
    #[error("{0}")]
    Damaged(String),
    /// The server's repository has another object format than ours.
    #[error("its ids have another length (SHA-1 and SHA-256)")]
    OtherFormat,
    #[error("{0}")]
    Failed(GitError),
}

impl From<GitError> for RepoError {
    fn from(error: GitError) -> Self {
        Self::Failed(error)
    }
}

impl From<ProcessError> for GitError {
    fn from(error: ProcessError) -> Self {
        let fault = match error {
            ProcessError::TooMuch { .. } => Fault::Request,
            _ => Fault::Host,
        };
        Self { exit_code: 1, message: error.to_string(), fault }
    }
}

/// The move of whoever asked for a commit that no branch or tag reaches.
macro_rules! push_it {
    () => {
        "push it to one, or ask for another commit (the role admin alone builds an unreached commit, by its full id)"
    };
}

const EMPTY_REPO: ErrorMessage = ErrorMessage {
    what: "… has no branch or tag …",
    cause: "The repository is empty.",
    cure: "it is empty, push something to it",
    fault: Fault::Request,
};
const NO_BRANCH: ErrorMessage = ErrorMessage {
    what: "… has no branch or tag …",
    cause: "The branch or tag was never pushed, was deleted, or its name is misspelt.",
    cure: "push it, or ask for another one (…)",
    fault: Fault::Request,
};
const NO_COMMIT: ErrorMessage = ErrorMessage {
    what: "… has no commit … on a branch or tag",
    cause: "The commit was never pushed, or its id is misspelt.",
    cure: push_it!(),
    fault: Fault::Request,
};
const NO_GRANTED_COMMIT: ErrorMessage = ErrorMessage {
    what: "… has no commit … on a branch or tag, and its server gives out none of this id",
    cause: "The commit was never pushed, or its server has removed it.",
    cure: "push it, or ask for another one",
    fault: Fault::Request,
};
const UNREACHABLE_COMMIT: ErrorMessage = ErrorMessage {
    what: "commit … is on no branch and no tag of …",
    cause: "A force push replaced the commit, or it belongs to a fork or to a pull request.",
    cure: push_it!(),
    fault: Fault::Request,
};
const WRONG_KIND: ErrorMessage = ErrorMessage {
    what: "… leads to no commit of … but to a …",
    cause: "The id or the tag is that of a tree or of a file.",
    cure: "name a commit, or a tag of one",
    fault: Fault::Request,
};
const ID_REFUSED: ErrorMessage = ErrorMessage {
    what: "no branch or tag of … reaches commit …, and its Git server gives out no commit by its id",
    cause: "The commit has left its branch, and the server's configuration allows no fetch by id.",
    cure: "push the commit to a branch, or set uploadpack.allowAnySHA1InWant=true for the repository there",
    fault: Fault::Request,
};
const FLAWED: ErrorMessage = ErrorMessage {
    what: "… cannot be read (…), nor after all of it was fetched anew",
    cause: "The repository itself is damaged, not our mirror of it.",
    cure: "run `git fsck` on its Git server",
    fault: Fault::Request,
};
const DAMAGED: ErrorMessage = ErrorMessage {
    what: "the mirror of … is damaged (…)",
    cause: "A file of the mirror was changed, cut off or removed in the data folder.",
    cure: "try again, it is then fetched anew",
    fault: Fault::Host,
};

const MESSAGES: [&ErrorMessage; 9] = [
    &EMPTY_REPO,
    &NO_BRANCH,
    &NO_COMMIT,
    &NO_GRANTED_COMMIT,
    &UNREACHABLE_COMMIT,
    &WRONG_KIND,
    &ID_REFUSED,
    &FLAWED,
    &DAMAGED,
];

/// Returns the messages of this module with their causes and cures, for docs/troubleshooting.md.
pub fn advice() -> Vec<Advice> {
    let all = MESSAGES.into_iter().chain(explain::messages()).chain(contents::MESSAGES);
    all.map(ErrorMessage::advice).collect()
}

impl GitError {
    /// Returns true if another try may help.
    pub fn is_transient(&self) -> bool {
        matches!(self.fault, Fault::Server | Fault::Throttled | Fault::Host)
    }

    /// Returns the error for a repository that is known to exist, if `is_existing`: that we do not see it is then a matter
    /// of our key, our token or GIT_URL.
    pub fn of_existing(self, is_existing: bool) -> Self {
        match self.fault {
            Fault::Hidden if is_existing => Self { fault: Fault::Config, ..self },
            _ => self,
        }
    }

    /// Makes the error of a request that cannot be met, with the exit code that Git would use (128).
    pub(super) fn refused(message: impl Display) -> Self {
        Self { exit_code: 128, message: message.to_string(), fault: Fault::Request }
    }

    /// Makes the error of a file of ours that cannot be read or written.
    pub(super) fn io(what: impl Display, error: impl Display) -> Self {
        Self {
            exit_code: 1,
            message: format!("{what}: {error}; check the disk and the data folder"),
            fault: Fault::Host,
        }
    }

    /// Makes the error of a branch that does not exist. `others` are the first of the branches that do.
    pub(super) fn no_branch(branch: &GitRef, source: &RepoSource, others: &[String]) -> Self {
        let (repo, branch) = (&source.repo, format!("{:?}", branch.as_str()));
        let shown: Vec<_> = others.iter().take(5).map(|name| format!("{name:?}")).collect();
        if shown.is_empty() {
            return EMPTY_REPO.error(&[repo, &branch]);
        }
        let more = if others.len() > shown.len() { ", …" } else { "" };
        NO_BRANCH.error(&[repo, &branch, &format!("{}{more}", shown.join(", "))])
    }

    /// Makes the error of a commit that no branch or tag reaches and that, if it is granted, the server does not give
    /// out by its id either.
    pub(super) fn no_commit(id: &str, source: &RepoSource, is_granted: bool) -> Self {
        let message = if is_granted { NO_GRANTED_COMMIT } else { NO_COMMIT };
        message.error(&[&source.repo, &id])
    }

    pub(super) fn unreachable_commit(id: impl Display, source: &RepoSource) -> Self {
        UNREACHABLE_COMMIT.error(&[&id, &source.repo])
    }

    /// Makes the error of an object that is no commit; `kind` is Git's name of its type.
    pub(super) fn wrong_kind(name: &str, kind: &str, source: &RepoSource) -> Self {
        WRONG_KIND.error(&[&name, &source.repo, &kind])
    }

    /// Makes the error of a server that gives out no commit by its id.
    pub(super) fn id_refused(id: &str, source: &RepoSource) -> Self {
        ID_REFUSED.error(&[&source.repo, &id])
    }

    /// Makes the error of a repository whose mirror was fetched anew and has the same flaw as before.
    pub(super) fn flawed(what: &str, source: &RepoSource) -> Self {
        FLAWED.error(&[&source.repo, &what])
    }

    pub(super) fn damaged(what: &str, source: &RepoSource) -> Self {
        DAMAGED.error(&[&source.repo, &what])
    }
}

impl RepoError {
    /// Converts the error where no full fetch will be tried any more.
    pub fn into_error(self, source: &RepoSource) -> GitError {
        match self {
            Self::Failed(error) => error,
            damaged => GitError::damaged(&damaged.to_string(), source),
        }
    }
}

#[cfg(test)]
mod tests;
