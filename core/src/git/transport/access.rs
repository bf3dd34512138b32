use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use super::tarball_api::TarballApi;
use super::token::GitToken;

/// The token and the authorities of a private server. They can be replaced while fetches run, and the next command of Git
/// uses the new ones. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct GitAccess(watch::Sender<Arc<CurrentAccess>>);

#[derive(Debug, Default)]
struct CurrentAccess {
    token: Option<GitToken>,
    cacert: Option<PathBuf>,
    tarballs: Option<TarballApi>,
}

impl GitAccess {
    /// `token` is that of GIT_TOKEN, and `cacert` a PEM file of authorities that are trusted beside the system's. In a
    /// `Git` the file has the system's authorities, too.
    pub fn new(token: Option<GitToken>, cacert: Option<PathBuf>) -> Self {
        Self(watch::Sender::new(Arc::new(CurrentAccess { token, cacert, tarballs: None })))
    }

    /// Has tarballs come from this API.
    pub fn with_tarballs(self, tarballs: Option<TarballApi>) -> Self {
        let CurrentAccess { token, cacert, .. } = &**self.0.borrow();
        let (token, cacert) = (token.clone(), cacert.clone());
        Self(watch::Sender::new(Arc::new(CurrentAccess { token, cacert, tarballs })))
    }

    pub(in crate::git) fn tarballs(&self) -> Option<TarballApi> {
        self.0.borrow().tarballs.clone()
    }

    pub(in crate::git) fn token(&self) -> Option<GitToken> {
        self.0.borrow().token.clone()
    }

    pub(in crate::git) fn cacert(&self) -> Option<PathBuf> {
        self.0.borrow().cacert.clone()
    }

    /// Takes over the token and the authorities of `new`.
    pub(in crate::git) fn replace(&self, new: &Self) {
        let new = new.0.borrow().clone();
        self.0.send_replace(new);
    }
}
