//! Repositories: bare mirrors, the commit that is meant, its tree, its files' contents and times. There is no checkout.

mod agent;
mod authorities;
mod blobs;
mod command;
mod errors;
mod lease;
mod master;
mod mirror;
mod oid;
mod redirect;
mod remote;
mod resolve;
mod times;
mod token;
mod tree;
mod upkeep;

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::{fs, io};

use crate::model::{CommitSpec, GitRef, RepoName};
use crate::process;
use crate::secrets::DeployKey;

pub use authorities::read as read_authorities;
pub use blobs::{Blob, Blobs, CHUNK};
use command::{ask, local};
pub use errors::GitError;
use errors::Trouble;
pub use mirror::Mirror;
pub use oid::{Oid, OidError};
pub use token::Token;
use tree::TreeError;
pub use tree::{Entry, Kind, path_order};
pub use upkeep::Upkeep;

/// Of a Unix socket's path, in bytes.
const LONGEST_SOCKET: usize = 107;

#[derive(Debug, Clone)]
pub struct GitConfig {
    /// Mirrors and file-time tables live here, and nobody else's data.
    pub dir: PathBuf,
    /// Agent sockets live here (a short path; made 0700 if it is not there).
    pub run_dir: PathBuf,
    pub known_hosts: PathBuf,
    /// GIT_TOKEN
    pub token: Option<Token>,
    /// A PEM file of authorities that are trusted beside the system's; in a [`Git`] it has all of them.
    pub cacert: Option<PathBuf>,
    /// FILE_TIMES=history
    pub pure_history_times: bool,
}

/// Where a repository comes from. `url` was expanded from the operator's template.
#[derive(Clone)]
pub struct Source {
    pub repo: RepoName,
    pub url: String,
    pub key: Option<Arc<DeployKey>>,
}

impl fmt::Debug for Source {
    /// Without the URL, which may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|key| key.fingerprint());
        f.debug_struct("Source").field("repo", &self.repo).field("key", &key).finish_non_exhaustive()
    }
}

/// A commit's tree, ready to be sent as a build context.
#[derive(Debug)]
pub struct Snapshot {
    pub mirror: Mirror,
    pub commit: Oid,
    /// In [`path_order`], directories included, the root not.
    pub entries: Vec<Entry>,
    /// Names this life of the file-time table; part of the sync key.
    pub generation: String,
    config: GitConfig,
}

/// The repositories of one data folder.
#[derive(Debug)]
pub struct Git {
    config: GitConfig,
    mirrors: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<mirror::State>>>>,
    tables: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    masters: master::Masters,
    leases: Arc<lease::Leases>,
}

impl Git {
    /// Makes the folders, and removes and kills what a former process left in them and of them. So the lock of the data
    /// folder must be held, and there is one of these at a time.
    pub fn new(mut config: GitConfig) -> Result<Self, GitError> {
        let made = |dir: &Path| {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            dir.canonicalize()
        };
        let failed = |dir: &Path, error: io::Error| GitError::io(format_args!("the folder {}", dir.display()), error);
        for dir in [&mut config.dir, &mut config.run_dir] {
            *dir = made(dir).map_err(|error| failed(dir, error))?;
        }
        config.known_hosts =
            std::path::absolute(&config.known_hosts).map_err(|error| failed(&config.known_hosts, error))?;
        if config.known_hosts.to_string_lossy().contains(['"', '\n']) {
            return Err(GitError::refused("KNOWN_HOSTS must not contain quotes: ssh cannot be given such a path"));
        }
        // The agent's own part is shorter.
        if config.run_dir.as_os_str().len() > LONGEST_SOCKET - master::SOCKET_NAME {
            let dir = config.run_dir.display();
            return Err(GitError::refused(format!("the path {dir} is too long for a socket: take a shorter one")));
        }
        made(&config.dir.join("filetimes")).map_err(|error| failed(&config.dir, error))?;
        process::kill_leftovers(&config.dir).map_err(|error| failed(Path::new("/proc"), error))?;
        remove_agents(&config.run_dir).map_err(|error| failed(&config.run_dir, error))?;
        if let Some(cacert) = &mut config.cacert {
            *cacert = authorities::bundle(cacert, &config.run_dir)?;
        }
        Ok(Self {
            config,
            mirrors: Mutex::default(),
            tables: Mutex::default(),
            masters: Default::default(),
            leases: Arc::default(),
        })
    }

    /// Reads the commit's tree and gives each file its time. `times_key` names the table (repository and Dockerfile).
    pub async fn snapshot(&self, mirror: &Mirror, commit: &Oid, times_key: &str) -> Result<Snapshot, GitError> {
        let snapshot = match self.try_snapshot(mirror, commit, times_key).await {
            Err(Trouble::Damaged(what)) => {
                self.heal(mirror, Some(&commit.to_string()), &what).await?;
                self.try_snapshot(mirror, commit, times_key).await
            }
            snapshot => snapshot,
        };
        snapshot.map_err(|trouble| trouble.into_error(&mirror.source))
    }

    async fn try_snapshot(&self, mirror: &Mirror, commit: &Oid, times_key: &str) -> Result<Snapshot, Trouble> {
        let args = ["ls-tree", "-r", "-t", "-l", "-z", "--full-tree", &commit.to_string()];
        let listing = ask(local(&self.config, &mirror.path).args(args)).await?;
        let listing = listing.ok_or_else(|| Trouble::Damaged("git ls-tree failed".into()))?;
        let mut entries = tree::parse(&listing).map_err(|error| match error {
            TreeError::Damaged(_) => Trouble::Damaged(error.to_string()),
            TreeError::Unsafe(_) => GitError::refused(format!("commit {commit} cannot be built: {error}")).into(),
        })?;
        let generation = self.set_times(mirror, commit, times_key, &mut entries).await?;
        Ok(Snapshot { mirror: mirror.clone(), commit: *commit, entries, generation, config: self.config.clone() })
    }
}

impl Snapshot {
    pub fn entry(&self, path: &[u8]) -> Option<&Entry> {
        let at = self.entries.binary_search_by(|entry| path_order(&entry.path, path)).ok()?;
        self.entries.get(at)
    }

    /// A reader of the files' contents; from async code alone (see [`process`]).
    pub fn blobs(&self) -> Result<Blobs, GitError> {
        Blobs::start(&self.config, &self.mirror)
    }
}

fn remove_agents(run_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(run_dir)? {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(b"agent-") {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
