//! Which paths have `filter=lfs`, by Git's own reading of a tree's `.gitattributes`.
//!
//! `git check-attr --source=TREE` came with Git 2.40. Every Git has `--cached`, which reads the attributes from an index:
//! it gets one that holds nothing but the `.gitattributes`, so this costs the same 5 ms in a tree of any size.

use tokio::io::AsyncWriteExt;

use crate::git::command::local;
use crate::git::errors::{Trouble, last_words};
use crate::git::{Entry, GitConfig, GitError, Mirror};
use crate::process::Program;

pub fn is_one(path: &[u8]) -> bool {
    path.rsplit(|&b| b == b'/').next() == Some(b".gitattributes")
}

/// Whether a `.gitattributes` may give the attribute to a path: by itself, or by a macro that it defines.
pub fn may_name_lfs(content: &[u8]) -> bool {
    content.windows(b"filter=lfs".len()).any(|window| window == b"filter=lfs")
}

/// For each of the paths, whether it has the attribute.
pub async fn filtered(
    config: &GitConfig,
    mirror: &Mirror,
    attributes: &[&Entry],
    paths: &[&[u8]],
) -> Result<Vec<bool>, Trouble> {
    let dir = tempfile::Builder::new().prefix("attributes-").tempdir_in(&config.run_dir);
    let dir = dir.map_err(|error| GitError::io(config.run_dir.display(), error))?;
    let git = |args: &[&str]| {
        let program = local(config, &mirror.path).args(args);
        // What this machine's own files say of attributes is not the commit's.
        program.env("GIT_INDEX_FILE", dir.path().join("index")).env("GIT_ATTR_NOSYSTEM", "1")
    };
    let mut lines = Vec::new();
    for Entry { oid, path, .. } in attributes {
        lines.extend(format!("100644 blob {oid}\t").into_bytes());
        lines.extend([path, &b"\0"[..]].concat());
    }
    feed(git(&["update-index", "-z", "--index-info"]), lines).await?;
    let lines = paths.iter().flat_map(|path| [path, &b"\0"[..]]).collect::<Vec<_>>().concat();
    let answer = feed(git(&["check-attr", "-z", "--stdin", "--cached", "filter"]), lines).await?;
    // `PATH<nul>filter<nul>VALUE<nul>` each, in the order of the question.
    let words: Vec<_> = answer.split(|&b| b == 0).collect();
    let filtered: Vec<_> = words.chunks_exact(3).map(|line| line[2] == b"lfs").collect();
    match filtered.len() == paths.len() {
        true => Ok(filtered),
        false => Err(Trouble::Damaged("git check-attr did not answer for all paths".into())),
    }
}

/// Runs a program with this input; its output.
async fn feed(program: Program, input: Vec<u8>) -> Result<Vec<u8>, Trouble> {
    let mut git = program.start().map_err(GitError::from)?;
    let stdin = git.stdin();
    let write = async move {
        if let Some(mut stdin) = stdin {
            // A program that does not read it all says why by its end.
            let _ = stdin.write_all(&input).await;
        }
    };
    let ((), finished) = tokio::join!(write, git.finish(None));
    let finished = finished.map_err(GitError::from)?;
    match finished.status.success() {
        true => Ok(finished.stdout),
        false => Err(Trouble::Damaged(last_words(&finished.stderr).into())),
    }
}
