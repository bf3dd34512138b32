//! Repositories: bare mirrors, the commit to build, its tree with its submodules and LFS files, and the files' contents
//! and times. There is no checkout.

mod bounds;
mod command;
mod compute;
mod errors;
#[cfg(fuzzing)]
pub mod fuzzing;
mod gitdir;
mod heads;
mod host_keys;
mod lfs;
mod memory;
mod mirror;
mod oid;
mod probe;
mod resolve;
mod snapshot;
mod spelling;
mod submodules;
mod tarball;
mod times;
mod transport;
mod tree;
mod work_tree;

use std::collections::HashMap;
use std::fmt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::{fs, io};

use crate::model::{CommitSpec, GitRef, RepoCase, RepoName};
use crate::process;
use crate::secrets::DeployKey;
use crate::ssh::SshHosts;

pub use bounds::GitBounds;
pub use compute::compute;
pub use errors::{Fault, GitError, advice};
pub use gitdir::GitDir;
pub use heads::Heads;
pub use host_keys::{HostKey, SshHost, count_host_keys, scan_host_keys};
pub use memory::{MemoryBudget, MemoryShare};
pub use mirror::Mirror;
pub use mirror::upkeep::Upkeep;
pub use oid::{Oid, OidError};
pub use probe::{probe, programs};
pub use snapshot::{Snapshot, SnapshotOptions};
pub use tarball::Tarball;
pub use transport::access::GitAccess;
pub use transport::authorities::read as read_authorities;
pub use transport::remote::host_of;
pub use transport::tarball_api::TarballApi;
pub use transport::token::GitToken;
pub use tree::blobs::{Blob, Blobs};
pub use tree::walk::{BrokenLink, PathEnd};
pub(crate) use tree::walk::{PathWalk, WalkStep};
pub use tree::{CHUNK, Entry, EntryKind, path_order};
pub use work_tree::{WorkTree, work_tree};

/// Longest path of a Unix socket, in bytes.
const LONGEST_SOCKET: usize = 107;

#[derive(Debug, Clone)]
pub struct GitConfig {
    /// Folder of the mirrors, LFS files and file-time tables, and of nothing else.
    pub dir: PathBuf,
    /// Folder of the agents' sockets and the `.git` of builds. Its path must be short; it is made with mode 0700 if it
    /// does not exist.
    pub run_dir: PathBuf,
    pub known_hosts: PathBuf,
    /// File of further host keys, which may come to be while the daemon runs.
    pub added_hosts: Option<PathBuf>,
    pub access: GitAccess,
    /// True for FILE_TIMES=history.
    pub pure_history_times: bool,
    /// REPO_CASE, decided.
    pub repo_case: RepoCase,
    pub bounds: GitBounds,
}

/// Origin of a repository. `url` was expanded from the operator's template.
#[derive(Clone)]
pub struct RepoSource {
    pub repo: RepoName,
    pub url: String,
    pub key: Option<Arc<DeployKey>>,
}

impl GitConfig {
    fn ssh_hosts(&self) -> SshHosts {
        SshHosts([&self.known_hosts].into_iter().chain(&self.added_hosts).cloned().collect())
    }
}

impl fmt::Debug for RepoSource {
    /// Leaves out the URL, which may have a password.
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
    spellings: spelling::Spellings,
    /// Number of fetches and of questions about remote heads that have begun, see [`heads`].
    fetch_count: AtomicU64,
}

impl Git {
    /// Makes the folders, removes what a former process left in them, and kills its programs. The lock of the data
    /// folder must therefore be held, and only one value may exist at a time.
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
        // The path of an agent's socket has a shorter last part.
        if config.run_dir.as_os_str().len() > LONGEST_SOCKET - transport::ssh::SOCKET_NAME {
            let dir = config.run_dir.display();
            return Err(GitError::refused(format!("the path {dir} is too long for a socket: take a shorter one")));
        }
        made(&config.dir.join("filetimes")).map_err(|error| failed(&config.dir, error))?;
        process::kill_leftovers(&config.dir).map_err(|error| failed(Path::new("/proc"), error))?;
        remove_leftovers(&config.run_dir).map_err(|error| failed(&config.run_dir, error))?;
        config.access.replace(&config.bundled(&config.access)?);
        let lfs = lfs::Lfs::open(&config.dir.join("lfs")).map_err(|error| failed(&config.dir.join("lfs"), error))?;
        let spellings = spelling::Spellings::scan(config.repo_case, &config.dir.join("mirrors"));
        let (mirrors, tables, ssh, conversions, leases, fetch_count) = Default::default();
        Ok(Self { config, mirrors, tables, ssh, lfs, conversions, leases, spellings, fetch_count })
    }

    /// Takes another token and other authorities. Fetches that run keep theirs.
    ///
    /// # Errors
    /// The authorities cannot be read, or the file for Git cannot be written; nothing has changed then.
    pub fn set_access(&self, access: &GitAccess) -> Result<(), GitError> {
        self.config.access.replace(&self.config.bundled(access)?);
        self.lfs.http.forget();
        Ok(())
    }

    /// Returns the name that makes the URL of a repository: the spelling of it that was seen first.
    pub fn first_spelling(&self, repo: &RepoName) -> RepoName {
        self.spellings.first(repo)
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
