//! The time at which each file was last touched, by one `git log`.

use std::sync::Arc;

use tokio::io::AsyncReadExt;

use crate::git::command::{exhausted, local};
use crate::git::errors::RepoError;
use crate::git::tree::{Entry, EntryKind, path_order};
use crate::git::{GitConfig, GitError, Mirror, Oid, compute};

/// Returns for each entry the time of the last commit that touched it, in seconds since the epoch. An entry that none
/// of the last `depth` commits touched has the oldest commit's time. A directory has the time of its latest entry.
///
/// Only first parents are followed: a merge touches the files that it brings, at the time of the merge. By the times of
/// the commits on the merged branch, a file could look older than the file that the built branch had before the merge.
pub(super) async fn read(
    config: &GitConfig,
    mirror: &Mirror,
    commit: &Oid,
    depth: Option<usize>,
    entries: &Arc<Vec<Entry>>,
) -> Result<Vec<i64>, RepoError> {
    let mut args = vec!["log".to_owned(), "--first-parent".into(), "--name-only".into(), "--no-renames".into()];
    args.extend(["-z", "--ignore-submodules=none", "--format=tformat:/%ct"].map(String::from));
    args.extend(depth.map(|depth| format!("-{depth}")));
    args.extend([commit.to_string(), "--".into()]);
    let mut git = local(config, &mirror.path).args(args).start().map_err(GitError::from)?;
    let mut stdout = git.stdout().ok_or_else(|| GitError::io("git log", "its output is not there"))?;
    let (mut scan, mut pending) = (Scan::new(entries.clone()), Vec::with_capacity(64 << 10));
    while scan.missing > 0 {
        if stdout.read_buf(&mut pending).await.map_err(|error| GitError::io("git log", error))? == 0 {
            // The times are complete only if the whole log was read.
            let finished = git.finish(None).await.map_err(GitError::from)?;
            if !finished.status.success() {
                let damaged = || RepoError::Damaged(format!("its history cannot be read: {}", finished.status));
                return Err(exhausted(&finished).map_or_else(damaged, RepoError::from));
            }
            break;
        }
        let whole = pending.iter().rposition(|&b| b == 0).map_or(0, |nul| nul + 1);
        pending[..whole].split(|&b| b == 0).for_each(|token| scan.token(token));
        pending.drain(..whole);
    }
    Ok(compute(|| scan.finish()).await)
}

/// Reads the tokens of the log. A commit's token is `/SECONDS`; the paths follow, the first one after a newline. No
/// path in a tree starts with `/`.
struct Scan {
    entries: Arc<Vec<Entry>>,
    times: Vec<Option<i64>>,
    /// Number of entries, other than directories, that have no time yet.
    missing: usize,
    commit: i64,
    first_path: bool,
}

impl Scan {
    fn new(entries: Arc<Vec<Entry>>) -> Self {
        let missing = entries.iter().filter(|entry| entry.kind != EntryKind::Dir).count();
        let times = vec![None; entries.len()];
        Self { entries, times, missing, commit: 0, first_path: false }
    }

    fn token(&mut self, token: &[u8]) {
        if let Some(seconds) = token.strip_prefix(b"/") {
            let seconds = std::str::from_utf8(seconds).ok().and_then(|text| text.parse().ok());
            (self.commit, self.first_path) = (seconds.unwrap_or(self.commit), true);
            return;
        }
        let path = if self.first_path { token.strip_prefix(b"\n").unwrap_or(token) } else { token };
        self.first_path = false;
        if let Ok(at) = self.find(path)
            && self.times[at].is_none()
            && self.entries[at].kind != EntryKind::Dir
        {
            self.times[at] = Some(self.commit);
            self.missing -= 1;
        }
    }

    fn finish(mut self) -> Vec<i64> {
        // In backward order a directory comes after everything in it.
        for at in (0..self.times.len()).rev() {
            let time = self.times[at].unwrap_or(self.commit);
            self.times[at] = Some(time);
            let path = &self.entries[at].path;
            if let Some(slash) = path.iter().rposition(|&b| b == b'/')
                && let Ok(parent) = self.find(&path[..slash])
            {
                self.times[parent] = self.times[parent].max(Some(time));
            }
        }
        self.times.into_iter().flatten().collect()
    }

    fn find(&self, path: &[u8]) -> Result<usize, usize> {
        self.entries.binary_search_by(|entry| path_order(&entry.path, path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(paths: &[(&str, EntryKind)]) -> Vec<Entry> {
        let oid = Oid::from_hex(&[b'1'; 40]).unwrap();
        let entry = |(path, kind): &(&str, EntryKind)| Entry {
            path: (*path).into(),
            kind: *kind,
            oid,
            size: 0,
            mtime: 0,
            origin: 0,
            lfs: false,
        };
        let mut entries: Vec<_> = paths.iter().map(entry).collect();
        entries.sort_by(|a, b| path_order(&a.path, &b.path));
        entries
    }

    fn scan(entries: &[Entry], log: &[u8]) -> Vec<i64> {
        let mut scan = Scan::new(Arc::new(entries.to_vec()));
        log.split(|&b| b == 0).for_each(|token| scan.token(token));
        scan.finish()
    }

    #[test]
    fn the_last_commit_that_touched_a_file_counts() {
        use EntryKind::{Dir, File};
        let entries = entries(&[("12", File), ("a", Dir), ("a/b", Dir), ("a/b/c", File), ("a/d", File), ("old", File)]);
        // The second commit is empty; "12" is a file, not a time.
        let log = b"/30\0\na/d\x0012\0/25\0/20\0\na/b/c\0a/d\0gone\0/10\0\nnone\0";
        assert_eq!(scan(&entries, log), [30, 30, 20, 20, 30, 10]);
    }

    #[test]
    fn a_path_may_start_with_a_newline() {
        let entries = entries(&[("\nx", EntryKind::File), ("x", EntryKind::File)]);
        assert_eq!(scan(&entries, b"/30\0\n\nx\0/20\0\nx\0"), [30, 20]);
        assert_eq!(scan(&entries, b"/30\0\ny\0\nx\0/20\0\nx\0"), [30, 20]);
    }

    proptest! {
        #[test]
        fn any_log_is_survived(log: Vec<u8>) {
            scan(&entries(&[("a", EntryKind::Dir), ("a/b", EntryKind::File)]), &log);
        }
    }
}
