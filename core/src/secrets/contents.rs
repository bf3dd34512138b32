use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::{SecretName, SecretsError};

/// Largest secret in bytes. A deploy key has 3 KiB, and a dockercfg of a thousand registries 300 KiB.
pub const MAX_SIZE: u64 = 1 << 20;

/// The secrets that a place has.
#[derive(Default)]
pub struct Contents {
    /// Stored bytes by name. An error stands for a secret that is stored and cannot be read.
    pub values: BTreeMap<SecretName, Result<Zeroizing<Vec<u8>>, SecretsError>>,
    /// One line for each path that looks like one of ours and is not valid.
    pub trouble: Vec<String>,
    /// The API and the member that were read, if the place is etcd.
    pub via: Option<String>,
}

impl Contents {
    /// Returns true if nothing is stored but the syslog host, which belongs to the whole cluster.
    pub fn has_no_secrets(&self) -> bool {
        self.values.keys().all(|name| *name == SecretName::SyslogHost) && self.trouble.is_empty()
    }

    /// Adds what is stored below the base at `path`, if it is one of ours.
    pub fn add(&mut self, path: &str, value: Result<Zeroizing<Vec<u8>>, SecretsError>) {
        let value = value.and_then(|v| match v.len() as u64 {
            ..=MAX_SIZE => Ok(v),
            size => Err(SecretsError(format!("it has {size} bytes, more than 1 MiB"))),
        });
        match SecretName::parse(path) {
            Some(Ok(name)) => drop(self.values.insert(name, value)),
            Some(Err(e)) => self.trouble.push(format!("{}: {e}; it is not used", path.escape_debug())),
            None => {}
        }
    }
}
