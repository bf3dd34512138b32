//! The work tree that a user of the command line stands in.

use std::env;
use std::path::Path;

use super::GitError;
use crate::model::RepoName;
use crate::process::{Finished, Program};

/// Exit code of `git remote get-url` for a remote that does not exist.
const NO_REMOTE: i32 = 2;

/// A work tree's `origin` and HEAD.
#[derive(Debug, PartialEq)]
pub struct WorkTree {
    pub repo: RepoName,
    /// The branch that is checked out; `None` for a detached HEAD.
    pub branch: Option<String>,
    /// The id of HEAD's commit; `None` before the first commit.
    pub commit: Option<String>,
}

/// Reads the work tree that the folder is in, with the user's own settings of Git, which may rewrite addresses.
pub async fn work_tree(folder: &Path) -> Result<WorkTree, GitError> {
    let origin = git(folder, &["remote", "get-url", "origin"]).await?;
    if !origin.status.success() {
        let why = origin.stderr.lines().next().unwrap_or_default().trim_start_matches("fatal: ");
        return Err(GitError::refused(match origin.status.code() {
            Some(NO_REMOTE) => "the work tree has no remote `origin`",
            _ if why.starts_with("not a git repository") => "the folder is in no work tree of Git",
            _ => why,
        }));
    }
    // The address is not shown, because it may have a password in it.
    let repo = repo_of(&first_line(&origin))
        .ok_or_else(|| GitError::refused("the address of `origin` is not HOST/OWNER/REPO"))?;
    let (branch, commit) = tokio::try_join!(
        git(folder, &["symbolic-ref", "--quiet", "--short", "HEAD"]),
        git(folder, &["rev-parse", "--quiet", "--verify", "HEAD"]),
    )?;
    let line = |finished: Finished| finished.status.success().then(|| first_line(&finished));
    Ok(WorkTree { repo, branch: line(branch), commit: line(commit) })
}

async fn git(folder: &Path, args: &[&str]) -> Result<Finished, GitError> {
    let mut program = Program::new("git").args(args).current_dir(folder);
    if let Some(home) = env::var_os("HOME") {
        program = program.env("HOME", home);
    }
    Ok(program.output().await?)
}

fn first_line(finished: &Finished) -> String {
    String::from_utf8_lossy(&finished.stdout).lines().next().unwrap_or_default().to_owned()
}

/// Reads the repository's name from `scheme://[user@]host/OWNER/REPO[.git]` or ssh's short form `[user@]host:OWNER/REPO[.git]`.
fn repo_of(url: &str) -> Option<RepoName> {
    let path = match url.split_once("://") {
        Some(("file", _)) => return None,
        Some((_, rest)) => rest.split_once('/')?.1,
        None => {
            let (host, path) = url.split_once(':')?;
            (!host.contains('/')).then_some(path)?
        }
    };
    let path = path.trim_matches('/');
    RepoName::parse(path.strip_suffix(".git").unwrap_or(path)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_two_parts_of_an_address_name_the_repository() {
        for url in [
            "https://github.com/acme/hello",
            "https://user:password@github.com/acme/hello.git/",
            "ssh://git@github.com:22/acme/hello.git",
            "git@github.com:acme/hello.git",
            "github.com:/acme/hello",
        ] {
            assert_eq!(repo_of(url).map(|repo| repo.to_string()).as_deref(), Some("acme/hello"), "{url}");
        }
        for url in ["/srv/acme/hello.git", "file:///acme/hello", "https://gitlab.com/a/b/c", "acme/hello", "", "C:x"] {
            assert_eq!(repo_of(url), None, "{url}");
        }
    }
}
