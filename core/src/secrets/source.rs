use zeroize::Zeroizing;

use super::contents::Contents;
use super::etcd::Etcd;
use super::folder::Folder;
use super::{Place, SecretName, SecretsError};

/// Reader and writer of a [`Place`].
pub enum Source {
    Etcd(Etcd),
    Folder(Folder),
}

impl Source {
    pub fn new(place: &Place) -> Self {
        match place {
            Place::Etcd(config) => Self::Etcd(Etcd::new(config)),
            Place::Folder(root) => Self::Folder(Folder::new(root)),
        }
    }

    /// Returns all that is stored: at once the first time, then when something may have changed.
    ///
    /// # Errors
    /// The place cannot be read. The next call tries again after a pause of its own.
    pub async fn next(&mut self) -> Result<Contents, SecretsError> {
        match self {
            Self::Etcd(etcd) => etcd.next().await,
            Self::Folder(folder) => folder.next().await,
        }
    }

    /// Stores one value durably, and returns where.
    pub async fn put(&self, name: &SecretName, value: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
        match self {
            Self::Etcd(etcd) => etcd.put(name, value).await,
            Self::Folder(folder) => folder.put(name, value).await,
        }
    }

    /// Deletes one value, and returns the places where it was: none if it was not stored.
    pub async fn delete(&self, name: &SecretName) -> Result<Vec<String>, SecretsError> {
        match self {
            Self::Etcd(etcd) => etcd.delete(name).await,
            Self::Folder(folder) => folder.delete(name).await,
        }
    }
}
