//! Repositories: bare mirrors, the commit that is meant, its tree with its submodules and LFS files, the files' contents
//! and times. There is no checkout.

mod command;
mod errors;
mod gitdir;
mod heads;
mod lfs;
mod mirror;
mod oid;
mod probe;
mod resolve;
mod snapshot;
mod submodules;
mod times;
mod transport;
mod tree;

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use crate::model::{CommitSpec, GitRef, RepoName};
use crate::process;
use crate::secrets::DeployKey;

pub use errors::{Fault, GitError, advice};
pub use gitdir::GitDir;
pub use heads::Heads;
pub use mirror::Mirror;
pub use mirror::upkeep::Upkeep;
pub use oid::{Oid, OidError};
pub use probe::{probe, programs};
pub use snapshot::Snapshot;
pub use transport::authorities::read as read_authorities;
pub use transport::token::GitToken;
pub use tree::blobs::{Blob, Blobs};
pub use tree::walk::{BrokenLink, PathEnd};
pub(crate) use tree::walk::{PathWalk, WalkStep};
pub use tree::{CHUNK, Entry, EntryKind, path_order};

/// Of a Unix socket's path, in bytes.
const LONGEST_SOCKET: usize = 107;

#[derive(Debug, Clone)]
pub struct GitConfig {
    /// Mirrors, LFS files and file-time tables live here, and nobody else's data.
    pub dir: PathBuf,
    /// Agent sockets and the `.git` of builds live here (a short path; made 0700 if it is not there).
    pub run_dir: PathBuf,
    pub known_hosts: PathBuf,
    /// GIT_TOKEN
    pub token: Option<GitToken>,
    /// A PEM file of authorities that are trusted beside the system's; in a [`Git`] it has all of them.
    pub cacert: Option<PathBuf>,
    /// FILE_TIMES=history
    pub pure_history_times: bool,
}

/// Where a repository comes from. `url` was expanded from the operator's template.
#[derive(Clone)]
pub struct RepoSource {
    pub repo: RepoName,
    pub url: String,
    pub key: Option<Arc<DeployKey>>,
}

impl fmt::Debug for RepoSource {
    /// Without the URL, which may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.as_ref().map(|key| key.fingerprint());
        f.debug_struct("Source").field("repo", &self.repo).field("key", &key).finish_non_exhaustive()
    }
}

/// The repositories of one data folder.
#[derive(Debug)]
pub struct Git {
    config: GitConfig,
    mirrors: Mutex<HashMap<PathBuf, Arc<tokio::sync::Mutex<mirror::MirrorState>>>>,
    tables: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    ssh: transport::ssh::SshConnections,
    lfs: lfs::Lfs,
    conversions: snapshot::convert::ConversionCache,
    leases: Arc<mirror::lease::MirrorLeases>,
    /// The number of fetch_count and looks that were begun, see [`heads`].
    fetch_count: AtomicU64,
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
        if config.run_dir.as_os_str().len() > LONGEST_SOCKET - transport::ssh::SOCKET_NAME {
            let dir = config.run_dir.display();
            return Err(GitError::refused(format!("the path {dir} is too long for a socket: take a shorter one")));
        }
        made(&config.dir.join("filetimes")).map_err(|error| failed(&config.dir, error))?;
        process::kill_leftovers(&config.dir).map_err(|error| failed(Path::new("/proc"), error))?;
        remove_leftovers(&config.run_dir).map_err(|error| failed(&config.run_dir, error))?;
        config.bundle_authorities()?;
        let lfs = lfs::Lfs::open(&config.dir.join("lfs")).map_err(|error| failed(&config.dir.join("lfs"), error))?;
        let (mirrors, tables, ssh, conversions, leases, fetch_count) = Default::default();
        Ok(Self { config, mirrors, tables, ssh, lfs, conversions, leases, fetch_count })
    }
}

fn remove_leftovers(run_dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(run_dir)? {
        let entry = entry?;
        let name = entry.file_name();
        if ["agent-", gitdir::PREFIX].iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
