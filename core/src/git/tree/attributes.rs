//! The attributes of paths, read by Git itself from a tree's `.gitattributes` (gitattributes(5)).
//!
//! `git check-attr --source=TREE` came with Git 2.40. Every Git has `--cached`, which reads the attributes from an
//! index. Our index contains only the `.gitattributes`, so this costs 5 ms in a tree of any size, and 2 µs for each
//! path and attribute.

use tokio::io::AsyncWriteExt;

use super::blobs::ObjectReader;
use crate::git::command::{failure, local};
use crate::git::errors::RepoError;
use crate::git::{Entry, EntryKind, GitConfig, GitError, Mirror};
use crate::process::{Finished, Program};

/// Number of paths that Git is asked about at once, because its answer is kept in memory.
const AT_ONCE: usize = 10_000;

/// Returns the `.gitattributes` among a repository's entries.
pub(in crate::git) fn files(entries: &[Entry]) -> Vec<&Entry> {
    let name = |path: &'_ [u8]| path.rsplit(|&b| b == b'/').next() == Some(b".gitattributes");
    entries.iter().filter(|entry| is_file(entry) && name(&entry.path)).collect()
}

pub(in crate::git) fn is_file(entry: &Entry) -> bool {
    matches!(entry.kind, EntryKind::File | EntryKind::Exec)
}

/// Returns for each of the words whether one of the files may contain it, even in the definition of a macro.
pub(in crate::git) async fn mentioned<const N: usize>(
    files: &[&Entry],
    reader: &mut ObjectReader,
    words: [&str; N],
) -> Result<[bool; N], GitError> {
    let mut named = [false; N];
    for entry in files {
        let content = reader.read(&entry.oid).await?;
        for (named, word) in named.iter_mut().zip(words) {
            *named = *named || content.windows(word.len()).any(|window| window == word.as_bytes());
        }
    }
    Ok(named)
}

/// Gives `take` the number of each path and the values of its attributes, as `git check-attr` prints them: `set`, `unset`,
/// `unspecified`, or the value.
pub(in crate::git) async fn values<const N: usize>(
    config: &GitConfig,
    mirror: &Mirror,
    files: &[&Entry],
    names: [&str; N],
    paths: &[&[u8]],
    mut take: impl FnMut(usize, [&[u8]; N]) -> Result<(), RepoError>,
) -> Result<(), RepoError> {
    let dir = tempfile::Builder::new().prefix("attributes-").tempdir_in(&config.run_dir);
    let dir = dir.map_err(|error| GitError::io(config.run_dir.display(), error))?;
    let git = |args: &[&str]| {
        let program = local(config, &mirror.path).args(args);
        // Attributes that are set on this machine do not belong to the commit.
        program.env("GIT_INDEX_FILE", dir.path().join("index")).env("GIT_ATTR_NOSYSTEM", "1")
    };
    let lines: Vec<_> = files.iter().flat_map(|entry| index_line(entry, &entry.path)).collect();
    run_checked(git(&["update-index", "-z", "--index-info"]), lines).await?;
    let mut taken = 0;
    for paths in paths.chunks(AT_ONCE) {
        let lines = paths.iter().flat_map(|path| [path, &b"\0"[..]]).collect::<Vec<_>>().concat();
        let answer = run_checked(git(&["check-attr", "-z", "--stdin", "--cached"]).args(names), lines).await?;
        // Git prints `PATH<nul>NAME<nul>VALUE<nul>` for each name of each path, in the order of the question.
        let of_paths: Vec<_> = answer.stdout.split(|&b| b == 0).skip(2).step_by(3).collect();
        for of_path in of_paths.chunks_exact(N) {
            take(taken, std::array::from_fn(|at| of_path[at]))?;
            taken += 1;
        }
    }
    match taken == paths.len() {
        true => Ok(()),
        false => Err(RepoError::Damaged("git check-attr did not answer for all paths".into())),
    }
}

/// Returns a line for `git update-index -z --index-info` that puts the entry's file at another path.
pub(in crate::git) fn index_line(entry: &Entry, path: &[u8]) -> Vec<u8> {
    [format!("100644 {}\t", entry.oid).as_bytes(), path, b"\0"].concat()
}

/// Runs a program with this input, and fails unless it succeeds.
pub(in crate::git) async fn run_checked(program: Program, input: Vec<u8>) -> Result<Finished, RepoError> {
    let finished = run_with_input(program, input).await?;
    match finished.status.success() {
        true => Ok(finished),
        false => Err(failure(&finished)),
    }
}

/// Runs a program with this input to its end.
pub(in crate::git) async fn run_with_input(program: Program, input: Vec<u8>) -> Result<Finished, GitError> {
    let mut git = program.start()?;
    let stdin = git.stdin();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A failed write is ignored, because a program that does not read its input says why when it ends.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), finished) = tokio::join!(write, git.finish(None));
    Ok(finished?)
}
