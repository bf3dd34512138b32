//! The commits of `git clone --depth`: all that are at most so many steps from the one that is built, by any parent.
//! The file `shallow` names the last ones.

use std::collections::HashSet;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{ChildStdin, ChildStdout};

use super::*;
use crate::git::command::broken_off;
use crate::process::Running;

/// Largest headers of a commit that are read into memory; the headers of a real commit are smaller.
const LARGEST_HEAD: u64 = 1 << 20;

#[derive(Debug)]
pub struct History {
    pub commits: HashSet<Oid>,
    /// Commits whose parents are left out, in the order of their ids.
    pub shallow: Vec<Oid>,
    /// Time of the first commit, in seconds since the epoch.
    pub seconds: i64,
}

/// Follows all parents, [`DEPTH`] commits deep.
pub async fn read(config: &GitConfig, mirror: &Mirror, tip: &Oid) -> Result<History, RepoError> {
    let mut git = local(config, &mirror.path).args(["cat-file", "--batch"]).start().map_err(GitError::from)?;
    let (Some(requests), Some(answers)) = (git.stdin(), git.stdout()) else {
        return Err(GitError::io("git cat-file", "its streams are not there").into());
    };
    let mut commits = CommitReader { git: Some(git), requests, answers: BufReader::new(answers) };
    let ends = ends_of(mirror).map_err(|error| GitError::io(mirror.path.display(), error))?;
    let mut history = History { commits: HashSet::from([*tip]), shallow: Vec::new(), seconds: 0 };
    let mut level = vec![*tip];
    for depth in 1..=DEPTH {
        for id in std::mem::take(&mut level) {
            let head = commits.head(&id).await?;
            if head.len() as u64 == LARGEST_HEAD && !head.windows(2).any(|end| end == b"\n\n") {
                let message = format!("commit {id} has more than 1 MiB of headers: build it without .git");
                return Err(GitError::refused(message).into());
            }
            let parents = parents(&head).ok_or_else(|| RepoError::Damaged(format!("commit {id} cannot be read")))?;
            if depth == 1 {
                history.seconds = seconds(&head).unwrap_or_default();
            }
            if !parents.is_empty() && (depth == DEPTH || ends.contains(&id)) {
                history.shallow.push(id);
                continue;
            }
            level.extend(parents.into_iter().filter(|parent| history.commits.insert(*parent)));
        }
    }
    history.shallow.sort_unstable();
    Ok(history)
}

/// Returns the commits whose parents the mirror itself lacks, because its origin is shallow.
fn ends_of(mirror: &Mirror) -> io::Result<HashSet<Oid>> {
    match fs::read(mirror.path.join("shallow")) {
        Ok(text) => Ok(text.split(|&b| b == b'\n').filter_map(|line| Oid::from_hex(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
        Err(error) => Err(error),
    }
}

struct CommitReader {
    /// The program, until it has broken off.
    git: Option<Running>,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl CommitReader {
    /// Returns the first part of a commit.
    async fn head(&mut self, id: &Oid) -> Result<Vec<u8>, RepoError> {
        let read = async {
            self.requests.write_all(format!("{id}\n").as_bytes()).await?;
            let mut header = String::new();
            if self.answers.read_line(&mut header).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some(size) = size(&header) else { return Ok(None) };
            let mut head = Vec::new();
            (&mut self.answers).take(size.min(LARGEST_HEAD)).read_to_end(&mut head).await?;
            // The answer ends with a newline.
            let rest = size.saturating_sub(LARGEST_HEAD) + 1;
            tokio::io::copy(&mut (&mut self.answers).take(rest), &mut tokio::io::sink()).await?;
            Ok::<_, io::Error>(Some(head))
        };
        match read.await {
            Ok(Some(head)) => Ok(head),
            Ok(None) => Err(RepoError::Damaged(format!("commit {id} is missing"))),
            Err(error) => {
                let what = format!("commit {id}: {error}");
                Err(match self.git.take() {
                    Some(git) => broken_off(git, what).await,
                    None => RepoError::Damaged(what),
                })
            }
        }
    }
}

/// Returns the size in `OID commit SIZE<newline>`.
fn size(header: &str) -> Option<u64> {
    let mut words = header.strip_suffix('\n')?.split(' ').skip(1);
    (words.next() == Some("commit")).then(|| words.next()?.parse().ok())?
}

/// Returns the ids in the lines `parent OID`, which follow the line `tree OID`.
fn parents(head: &[u8]) -> Option<Vec<Oid>> {
    let mut lines = head.split(|&b| b == b'\n');
    lines.next()?.strip_prefix(b"tree ")?;
    lines.map_while(|line| line.strip_prefix(b"parent ")).map(|id| Oid::from_hex(id).ok()).collect()
}

/// Returns the time in the line `committer NAME <MAIL> SECONDS ZONE`.
fn seconds(head: &[u8]) -> Option<i64> {
    let headers = head.split(|&b| b == b'\n').take_while(|line| !line.is_empty());
    let committer = headers.filter_map(|line| line.strip_prefix(b"committer ")).next()?;
    let after = committer.rsplit(|&b| b == b'>').next()?;
    std::str::from_utf8(after).ok()?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn a_commit_is_read_to_the_end_of_its_headers() {
        let head = format!(
            "tree {ID}\nparent {ID}\nparent {ID}\nauthor A <a> 1 +0000\ncommitter B <b> c> 1500000000 +0100\n\nparent {ID}\ncommitter x <y> 5 +0000\n"
        );
        assert_eq!(parents(head.as_bytes()).unwrap().len(), 2);
        assert_eq!(seconds(head.as_bytes()), Some(1_500_000_000));
        assert_eq!(parents(format!("tree {ID}\nauthor x\n\nparent {ID}\n").as_bytes()).unwrap(), []);
        assert_eq!(parents(format!("tree {ID}\nparent x\n").as_bytes()), None);
        assert_eq!(parents(b""), None);
        assert_eq!((size("0123 commit 42\n"), size("0123 missing\n"), size("0123 tree 42\n")), (Some(42), None, None));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(head: Vec<u8>, header: String) {
            let _ = (parents(&head), seconds(&head), size(&header));
        }
    }
}
