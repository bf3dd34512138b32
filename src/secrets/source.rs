use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::etcd::Etcd;
use super::folder::Folder;
use super::{Name, Place, SecretsError};

/// A deploy key has 3 KiB, a dockercfg of a thousand registries 300 KiB.
pub const MAX_SIZE: u64 = 1 << 20;

/// All that is stored in a place.
#[derive(Default)]
pub struct Contents {
    /// An error is of what is there and cannot be read.
    pub values: BTreeMap<Name, Result<Zeroizing<Vec<u8>>, SecretsError>>,
    /// One line for each path that looks like one of ours and cannot be.
    pub trouble: Vec<String>,
    /// By which API of which member, if the place is etcd.
    pub via: Option<String>,
}

impl Contents {
    /// Nothing is stored that is ours.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.trouble.is_empty()
    }

    /// Nothing that is ours alone: the syslog host is the whole cluster's.
    pub fn has_no_secrets(&self) -> bool {
        self.values.keys().all(|name| *name == Name::SyslogHost) && self.trouble.is_empty()
    }

    /// Adds what is stored below the base at `path`, if it is one of ours.
    pub fn add(&mut self, path: &str, value: Result<Zeroizing<Vec<u8>>, SecretsError>) {
        let value = value.and_then(|v| match v.len() as u64 {
            ..=MAX_SIZE => Ok(v),
            size => Err(SecretsError(format!("it has {size} bytes, more than 1 MiB"))),
        });
        match Name::parse(path) {
            Some(Ok(name)) => drop(self.values.insert(name, value)),
            Some(Err(e)) => self.trouble.push(format!("{}: {e}; it is not used", path.escape_debug())),
            None => {}
        }
    }
}

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

    /// At once the first time, then when something may have changed: all that is stored, or why the place cannot be
    /// read. Called again, it tries again after a pause of its own.
    pub async fn next(&mut self) -> Result<Contents, SecretsError> {
        match self {
            Self::Etcd(etcd) => etcd.next().await,
            Self::Folder(folder) => folder.next().await,
        }
    }

    /// Stores one value and makes sure of it; returns where.
    pub async fn put(&self, name: &Name, value: Zeroizing<Vec<u8>>) -> Result<String, SecretsError> {
        match self {
            Self::Etcd(etcd) => etcd.put(name, value).await,
            Self::Folder(folder) => folder.put(name, value).await,
        }
    }
}
