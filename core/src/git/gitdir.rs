//! A `.git` for the builds that ask for one: the commit, with as much history as totem's clone, and the tags of its
//! commits.
//!
//! The bytes depend only on the commit and on these tags, because BuildKit's cache goes by content: a later fetch,
//! another branch, a repack or a mirror that was fetched anew changes none of them. Git makes it in a folder of its
//! own, which has no other refs, with the mirror's objects as an alternate:
//!
//! - `HEAD` is the commit itself, `packed-refs` has the tags; there is no branch, no remote, no hook and no log;
//! - the pack takes no delta and no compressed object over from the mirror, and one thread searches for deltas;
//! - the `index` has no stat data, so that Git compares contents when it is first asked.
//!
//! Git 2.39 and 2.47 write the same bytes. Another zlib may not.

mod history;
mod tags;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;

use super::command::{ask, failure, local};
use super::errors::{RepoError, last_words};
use super::times::{DEPTH, SECOND};
use super::tree::{GIT_DIR, path_order};
use super::{CHUNK, Entry, EntryKind, Git, GitConfig, GitError, Mirror, Oid};
use crate::model::LogSink;
use crate::process::Program;
use tags::GitTag;

/// Start of the folders' names in the run folder, by which the folders of a killed process are removed.
pub(super) const PREFIX: &str = "gitdir-";
const NAME: &[u8] = b".git";

/// Settings for the same bytes everywhere. Their defaults depend on the number of processors (`index.threads`), or
/// changed from one version to the next.
const SETTINGS: [&str; 5] = [
    "index.threads=1",
    "index.version=2",
    "pack.writeReverseIndex=false",
    "pack.indexVersion=2",
    "core.commitGraph=false",
];
/// Smaller window than Git's own of 10, which takes half as long again for 20,000 files of 3 KB and saves 1 %.
const WINDOW: &str = "--window=4";

/// A `.git` on the disk, which is removed when the last snapshot that has it is dropped. The `index` is made with a
/// snapshot.
#[derive(Debug)]
pub struct GitDir {
    dir: TempDir,
    /// Number of commits in the `.git`.
    pub commits: usize,
    pub tags: usize,
    /// The commit's time in seconds since the epoch.
    seconds: i64,
}

impl Git {
    /// Makes the `.git` of a commit from the mirror.
    ///
    /// # Errors
    /// The mirror cannot be read although it was fetched anew, or the disk is full.
    pub async fn git_dir(&self, mirror: &Mirror, commit: &Oid, log: &dyn LogSink) -> Result<Arc<GitDir>, GitError> {
        let made = match GitDir::make(&self.config, mirror, commit, log).await {
            Err(RepoError::Damaged(what)) => {
                self.heal(mirror, Some(&commit.to_string()), &what).await?;
                let made = GitDir::make(&self.config, mirror, commit, log).await;
                self.healed(mirror, made).await?
            }
            made => made.map_err(|error| error.into_error(&mirror.source))?,
        };
        Ok(Arc::new(made))
    }
}

impl GitDir {
    async fn make(config: &GitConfig, mirror: &Mirror, commit: &Oid, log: &dyn LogSink) -> Result<Self, RepoError> {
        let history = history::read(config, mirror, commit).await?;
        log.alive();
        let tags = tags::below(config, mirror, &history.commits).await?;
        let dir = tempfile::Builder::new().prefix(PREFIX).tempdir_in(&config.run_dir);
        let dir = dir.map_err(|error| failed(&config.run_dir, error))?;
        let made = Self { dir, commits: history.commits.len(), tags: tags.len(), seconds: history.seconds };
        made.write(commit, &history.shallow, &tags).map_err(|error| failed(made.dir.path(), error))?;
        // An annotated tag is an object of its own. The commit comes first, so that the pack begins with its files.
        let ids = [*commit].into_iter().chain(tags.iter().filter(|tag| tag.is_annotated()).map(|tag| tag.object));
        let wanted: String = ids.map(|id| format!("{id}\n")).collect();
        let target = made.dir.path().join("objects/pack/pack");
        let pack = made.git(config, mirror).args(["pack-objects", "--revs", "--no-reuse-delta", "--no-reuse-object"]);
        let pack = pack.args(["--threads=1", WINDOW, "--progress"]).arg(target);
        feed(pack, wanted.into_bytes(), log).await?;
        Ok(made)
    }

    /// Writes everything except the pack and the index.
    fn write(&self, commit: &Oid, shallow: &[Oid], tags: &[GitTag]) -> io::Result<()> {
        let dir = self.dir.path();
        for folder in ["objects/pack", "refs/heads", "refs/tags"] {
            fs::create_dir_all(dir.join(folder))?;
        }
        fs::write(dir.join("HEAD"), format!("{commit}\n"))?;
        fs::write(dir.join("config"), config_text(commit))?;
        if !shallow.is_empty() {
            fs::write(dir.join("shallow"), shallow.iter().map(|id| format!("{id}\n")).collect::<String>())?;
        }
        if !tags.is_empty() {
            fs::write(dir.join("packed-refs"), tags::packed(tags))?;
        }
        Ok(())
    }

    /// Makes `git …` for this folder, with access to the mirror's objects.
    fn git(&self, config: &GitConfig, mirror: &Mirror) -> Program {
        let settings = SETTINGS.iter().flat_map(|setting| ["-c", setting]);
        let program = local(config, self.dir.path()).env("GIT_ALTERNATE_OBJECT_DIRECTORIES", alternates(&mirror.path));
        program.env("GIT_ATTR_NOSYSTEM", "1").args(settings)
    }

    /// Returns the entries in [`path_order`], with the commit's time; `own` are those of the commit's tree. The index
    /// is made here, because only now is it known which files Git LFS keeps. Git is told not to look at those, because
    /// it would find them changed where git-lfs is not installed.
    pub(super) async fn entries(
        self: &Arc<Self>,
        config: &GitConfig,
        mirror: &Mirror,
        own: &[Entry],
        log: &dyn LogSink,
    ) -> Result<Vec<Entry>, RepoError> {
        if own.iter().any(|entry| entry.path == NAME) {
            let message = "the commit has an entry .git, which Git itself refuses: remove it, or build without .git";
            return Err(GitError::refused(message).into());
        }
        let read = ask(self.git(config, mirror).args(["read-tree", "HEAD"])).await;
        read.map_err(|error| match error {
            // The pusher chooses names such as `.GIT` and `git~1`, so the mirror is not damaged.
            RepoError::Damaged(words) if words.contains("invalid path") => {
                let message = format!("Git refuses a name in the commit ({words}): rename it, or build without .git");
                RepoError::from(GitError::refused(message))
            }
            error => error,
        })?
        .ok_or_else(|| RepoError::Damaged("git read-tree failed".into()))?;
        let kept: Vec<u8> = own.iter().filter(|e| e.lfs).flat_map(|e| [&e.path[..], b"\0"].concat()).collect();
        if !kept.is_empty() {
            let update = self.git(config, mirror).args(["update-index", "-z", "--assume-unchanged", "--stdin"]);
            feed(update, kept, log).await?;
        }
        let this = self.clone();
        let entries = tokio::task::spawn_blocking(move || this.walk()).await;
        let entries = entries.unwrap_or_else(|error| Err(error.into()));
        Ok(entries.map_err(|error| failed(self.dir.path(), error))?)
    }

    /// Reads the folder. The ids are SHA-256 over the content, so that a file's time changes with it.
    fn walk(&self) -> io::Result<Vec<Entry>> {
        let mut entries = vec![self.entry(NAME.into(), EntryKind::Dir)];
        let mut next = 0;
        while let Some(Entry { path, kind, .. }) = entries.get(next) {
            let path = path.clone();
            if *kind == EntryKind::Dir {
                for child in fs::read_dir(self.file(&path))? {
                    let child = child?;
                    let kind = if child.file_type()?.is_dir() { EntryKind::Dir } else { EntryKind::File };
                    entries.push(self.entry([&path, &b"/"[..], child.file_name().as_bytes()].concat(), kind));
                }
            } else {
                (entries[next].size, entries[next].oid) = content(&self.file(&path))?;
            }
            next += 1;
        }
        entries.sort_unstable_by(|a, b| path_order(&a.path, &b.path));
        // The order is backwards, because a folder's id is over all that is in it.
        for at in (0..entries.len()).rev().filter(|&at| entries[at].kind == EntryKind::Dir).collect::<Vec<_>>() {
            let mut digest = Sha256::new();
            let below = [&entries[at].path[..], b"/"].concat();
            for entry in entries[at + 1..].iter().take_while(|entry| entry.path.starts_with(&below)) {
                digest.update(&entry.path);
                digest.update([0]);
                digest.update(entry.oid.as_bytes());
            }
            entries[at].oid = id(digest);
        }
        Ok(entries)
    }

    fn entry(&self, path: Vec<u8>, kind: EntryKind) -> Entry {
        let mtime = self.seconds.saturating_mul(SECOND);
        Entry { path, kind, oid: id(Sha256::new()), size: 0, mtime, origin: GIT_DIR, lfs: false }
    }

    /// Returns the path of the file with an entry's content.
    pub(super) fn file(&self, path: &[u8]) -> PathBuf {
        let below = path.strip_prefix(NAME).unwrap_or(path);
        self.dir.path().join(OsStr::from_bytes(below.strip_prefix(b"/").unwrap_or(below)))
    }
}

/// Returns a file's size, and the SHA-256 of its content.
fn content(path: &Path) -> io::Result<(u64, Oid)> {
    let mut file = File::open(path)?;
    let (mut digest, mut size, mut buffer) = (Sha256::new(), 0, vec![0; CHUNK]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, id(digest))),
            got => {
                digest.update(&buffer[..got]);
                size += got as u64;
            }
        }
    }
}

fn id(digest: Sha256) -> Oid {
    Oid::from_digest(digest.finalize().into())
}

/// Returns the repository's `config`. SHA-256 takes an extension, and with it the newer format.
fn config_text(commit: &Oid) -> &'static str {
    match commit.as_bytes().len() {
        32 => {
            "[core]\n\trepositoryformatversion = 1\n\tfilemode = true\n\tbare = false\n[extensions]\n\tobjectformat = sha256\n"
        }
        _ => "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n",
    }
}

/// Returns the mirror's objects as a list of paths, which colons separate unless a path is in quotes.
fn alternates(mirror: &Path) -> OsString {
    let objects = mirror.join("objects");
    let mut alternates = vec![b'"'];
    for &byte in objects.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            alternates.push(b'\\');
        }
        alternates.push(byte);
    }
    alternates.push(b'"');
    OsString::from_vec(alternates)
}

fn failed(dir: &Path, error: impl std::fmt::Display) -> GitError {
    GitError::io(format_args!("the .git of the build cannot be written to {}", dir.display()), error)
}

/// A log that reports Git's progress as a sign of life and keeps none of it.
struct ProgressSink<'a>(&'a dyn LogSink);

impl LogSink for ProgressSink<'_> {
    fn write(&self, _: &[u8]) {
        self.0.alive();
    }
}

/// Runs a program with this input, and fails unless it succeeds.
async fn feed(program: Program, input: Vec<u8>, log: &dyn LogSink) -> Result<(), RepoError> {
    let mut git = program.start().map_err(GitError::from)?;
    let stdin = git.stdin();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A failed write is ignored, because a program that does not read its input says why when it ends.
            let _ = stdin.write_all(&input).await;
        }
    };
    let progress = ProgressSink(log);
    let ((), finished) = tokio::join!(write, git.finish(Some(&progress)));
    let finished = finished.map_err(GitError::from)?;
    if finished.status.success() {
        return Ok(());
    }
    let words = last_words(&finished.stderr);
    let is_full = ["No space left on device", "Disk quota exceeded"].iter().any(|full| finished.stderr.contains(full));
    match is_full {
        true => Err(GitError::io("the .git of the build cannot be written", words).into()),
        false => Err(failure(&finished)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_list() {
        let list = |path: &str| alternates(Path::new(path)).into_string().unwrap();
        assert_eq!(list("/a b/x.git"), r#""/a b/x.git/objects""#);
        assert_eq!(list(r#"/a:b/"c"\d"#), r#""/a:b/\"c\"\\d/objects""#);
    }
}
