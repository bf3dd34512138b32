//! The methods by which an ssh server gives out LFS objects, and which of them has worked.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::git::GitError;

/// The way in which an ssh server gives out LFS objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `git-lfs-transfer` over ssh itself.
    Transfer,
    /// HTTP, with a URL and a header from `git-lfs-authenticate`.
    Authenticate,
    /// HTTPS on the same host, because the server has neither of the two programs.
    Guess,
}

/// The method that worked last for each server. It is tried first, which saves a session for each method that the
/// server does not have.
#[derive(Debug, Default)]
pub struct KnownMethods(Mutex<HashMap<String, Method>>);

impl KnownMethods {
    pub fn of(&self, server: &str) -> Option<Method> {
        self.lock().get(server).copied()
    }

    pub fn note(&self, server: String, method: Method) {
        self.lock().insert(server, method);
    }

    pub fn forget(&self, server: &str) {
        self.lock().remove(server);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Method>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The reason why a method did not lead to the objects.
pub enum MethodError {
    /// The server does not have this method.
    Unavailable,
    Failed(GitError),
}

impl From<GitError> for MethodError {
    fn from(error: GitError) -> Self {
        Self::Failed(error)
    }
}
