//! `image_factory::git` against real repositories, by ssh and from files.

mod archive;
mod by_id;
mod converted;
mod gitdir;
mod heads;
mod healing;
mod https;
mod kinds;
mod lfs;
mod lfs_ssh;
mod odd;
mod resolving;
mod shallow;
mod spelling;
mod ssh;
mod submodules;
mod times;
mod transport;
mod trees;
mod upkeep;

use std::path::Path;
use std::sync::Arc;

use image_factory::git::{Git, GitConfig, GitError, Mirror, Oid, RepoSource, Snapshot};
use image_factory::model::{CommitSpec, GitRef, RepoName};
use image_factory::secrets::Secrets;

use crate::harness::{self, Log, Repo, folder, masked};

fn config(dir: &Path, known_hosts: &Path) -> GitConfig {
    GitConfig {
        dir: dir.join("data"),
        run_dir: dir.join("run"),
        known_hosts: known_hosts.into(),
        added_hosts: None,
        access: Default::default(),
        pure_history_times: false,
        repo_case: image_factory::model::RepoCase::default(),
        bounds: image_factory::git::GitBounds::default(),
    }
}

fn library_key(key: &harness::DeployKey, passphrase: &str) -> Option<Arc<image_factory::secrets::DeployKey>> {
    let key = image_factory::secrets::DeployKey::parse(key.private.as_bytes(), Some(passphrase)).unwrap();
    Some(Arc::new(key))
}

fn branch(name: &str) -> GitRef {
    GitRef::new(name).unwrap()
}

fn commit(text: &str) -> CommitSpec {
    CommitSpec::parse(text).unwrap()
}

/// Returns a failure as one masked line: its fault, its exit code, whether another try may help, and its message.
fn failure(error: &GitError, values: &[(&str, &str)]) -> String {
    assert!(!error.message.contains('\n'), "{error:?}");
    let end = if error.is_transient() { "transient" } else { "final" };
    masked(&format!("{:?} {} {end}: {}", error.fault, error.exit_code, error.message), values)
}

/// A repository at a path, and mirrors of it; no ssh.
struct Local {
    dir: tempfile::TempDir,
    repo: Repo,
    source: RepoSource,
    git: Git,
}

impl Local {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut GitConfig)) -> Self {
        let dir = folder();
        let repo = Repo::create(&dir.path().join("hello.git"));
        let url = format!("file://{}", repo.bare.display());
        let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
        let mut config = config(dir.path(), Path::new("/nonexistent"));
        change(&mut config);
        Self { git: Git::new(config).unwrap(), source, repo, dir }
    }

    /// Makes a new `Git`, as a restart does.
    fn restart(&mut self) {
        self.git = Git::new(config(self.dir.path(), Path::new("/nonexistent"))).unwrap();
    }

    async fn fetch(&self, on: &str, wanted: &str, pushed: bool) -> Result<Mirror, GitError> {
        self.git.clone(&self.source, &branch(on), &commit(wanted), pushed, &Log::default()).await
    }

    /// Clone and resolve, as a job does.
    async fn commit(&self, on: &str, wanted: &str, pushed: bool) -> Result<Oid, GitError> {
        let mirror = self.fetch(on, wanted, pushed).await?;
        self.git.resolve(&mirror, &branch(on), &commit(wanted), pushed).await
    }

    /// The tip of develop.
    async fn snapshot(&self) -> Result<Snapshot, GitError> {
        self.snapshot_of("develop", "key").await
    }

    async fn snapshot_of(&self, on: &str, key: &str) -> Result<Snapshot, GitError> {
        let mirror = self.fetch(on, "HEAD", false).await?;
        let oid = self.git.resolve(&mirror, &branch(on), &CommitSpec::Head, false).await?;
        self.git.snapshot(&mirror, &oid, key, &Secrets::default(), &Log::default()).await
    }
}

/// All of the tree's files and symlinks: path, content.
async fn contents(snapshot: &Snapshot) -> Result<Vec<(String, Vec<u8>)>, GitError> {
    use image_factory::git::EntryKind;
    let mut blobs = snapshot.blobs()?;
    let mut contents = Vec::new();
    for entry in &snapshot.entries {
        if !matches!(entry.kind, EntryKind::Dir | EntryKind::Gitlink) {
            let content = blobs.read(entry).await?;
            assert_eq!(content.len() as u64, entry.size);
            contents.push((String::from_utf8_lossy(&entry.path).into_owned(), content));
        }
    }
    Ok(contents)
}
