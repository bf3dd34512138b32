//! Questions to a repository's host without a mirror, for diagnosis: nothing is fetched and nothing stays on the disk.

use std::collections::HashMap;

use super::command::network;
use super::errors::{explain, last_words, refused_before};
use super::transport::connection::RemoteConnection;
use super::transport::redirect;
use super::transport::refusals::KeyRefusals;
use super::transport::remote::Protocol;
use super::transport::ssh::connection_name;
use super::{Git, GitConfig, GitError, GitRef, Oid, RepoSource};
use crate::process::Program;
use crate::ssh::is_key_refusal;

/// Oldest Git that reads its settings from `GIT_CONFIG_COUNT`.
const OLDEST_GIT: (u32, u32) = (2, 31);

/// Returns the version of each program that Git needs, or an error that says what to do.
pub async fn programs() -> [Result<String, GitError>; 3] {
    let (git, ssh, setpriv) = tokio::join!(version("git", "--version"), version("ssh", "-V"), version("setpriv", "-V"));
    [git.and_then(new_enough), ssh, setpriv]
}

/// Returns the first line that the program prints, on either stream.
async fn version(program: &str, option: &str) -> Result<String, GitError> {
    let finished = Program::new(program).arg(option).output().await?;
    let said = String::from_utf8_lossy(&finished.stdout).into_owned() + &finished.stderr;
    match said.lines().next() {
        Some(line) if finished.status.success() => Ok(line.trim().into()),
        _ => Err(GitError::refused(format!("{program} {option} failed ({}): install it anew", finished.status))),
    }
}

/// Checks the version in `git version 2.39.5 (…)`.
fn new_enough(said: String) -> Result<String, GitError> {
    let mut numbers = said.trim_start_matches("git version ").split('.').map_while(|part| part.parse().ok());
    match numbers.next().zip(numbers.next()) {
        Some(version) if version >= OLDEST_GIT => Ok(said),
        _ => {
            Err(GitError::refused(format!("{said} is too old: install Git {}.{} or newer", OLDEST_GIT.0, OLDEST_GIT.1)))
        }
    }
}

/// Asks the repository's host for a branch or tag, or for the default branch, in the way of a job's fetch: with the key
/// through an agent. Returns the commit's id. The folders of `config` are used and must exist; no mirror is touched.
pub async fn probe(config: &GitConfig, source: &RepoSource, branch: Option<&GitRef>) -> Result<String, GitError> {
    let mut config = config.clone();
    config.access = config.bundled(&config.access)?;
    let names = match branch {
        Some(branch) => branch.full_names(),
        None => vec!["HEAD".to_owned()],
    };
    // The other branches are listed for the message about a missing one. With these two options the server lists no
    // pull requests. With a pattern it would, because Git filters by a pattern only after the server has listed all
    // refs.
    let (options, patterns): (&[&str], &[&str]) = match branch {
        Some(_) => (&["--heads", "--tags"], &[]),
        None => (&[], &["HEAD"]),
    };
    let listed = list(&config, source, options, patterns, None).await?;
    let refs: Vec<_> = listed.lines().filter_map(|line| line.split_once('\t')).collect();
    let found = names.iter().find_map(|wanted| refs.iter().find(|(_, name)| name == wanted));
    let branches = || -> Vec<String> {
        refs.iter().filter_map(|(_, name)| Some(name.strip_prefix("refs/heads/")?.to_owned())).collect()
    };
    found.map(|(id, _)| (*id).to_owned()).ok_or_else(|| match branch {
        Some(branch) => GitError::no_branch(branch, source, &branches()),
        None => GitError::refused(format!("{} has no commit yet: push a branch", source.repo)),
    })
}

impl Git {
    /// Returns every branch of a repository, by its short name, with its commit, as the host has them now. Nothing is
    /// fetched.
    pub async fn heads(&self, source: &RepoSource) -> Result<HashMap<String, Oid>, GitError> {
        let listed = list(&self.config, source, &["--heads"], &[], Some(&self.ssh.refusals)).await?;
        let head = |line: &str| {
            let (id, name) = line.split_once('\t')?;
            Some((name.strip_prefix("refs/heads/")?.to_owned(), id.parse().ok()?))
        };
        Ok(listed.lines().filter_map(head).collect())
    }
}

/// Returns the output of `git ls-remote`: lines of `ID<tab>NAME`. A pattern also matches the end of a longer name, so
/// the list may have more refs than were asked for. A key that the server refused, according to `refusals`, is not
/// shown again.
pub(super) async fn list(
    config: &GitConfig,
    source: &RepoSource,
    options: &[&str],
    patterns: &[&str],
    refusals: Option<&KeyRefusals>,
) -> Result<String, GitError> {
    let mut remote = config.authorized(&source.remote()?);
    // A shared connection would be one process for each of hundreds of keys.
    let connection = RemoteConnection::unshared(config, source, &remote)?;
    let refusals = refusals.filter(|_| remote.protocol == Protocol::Ssh);
    let name = connection_name(config, &remote, connection.key_fingerprint());
    if let Some(refusal) = refusals.and_then(|refusals| refusals.of(&name)) {
        return Err(refused_before(refusal, source, &remote, &config.known_hosts));
    }
    let finished = loop {
        let program = network(config, &config.dir, &remote, &connection);
        let program = program.args(["ls-remote", "--quiet"]).args(options).args(["--", &remote.url]).args(patterns);
        let finished = program.output().await?;
        // The caller has a time limit, which ends a circle of redirects.
        match redirect::next(config, &remote, &finished.stderr).await? {
            Some(next) => remote = next,
            None => break finished,
        }
    };
    if finished.status.success() {
        return Ok(String::from_utf8_lossy(&finished.stdout).into_owned());
    }
    if let Some(refusals) = refusals
        && is_key_refusal(&finished.stderr)
    {
        refusals.note(&name, &remote.host);
    }
    let exit_code = finished.status.code().unwrap_or(1);
    Err(explain(&finished.stderr, exit_code, source, &remote, &config.known_hosts).unwrap_or_else(|| {
        let (repo, why) = (&source.repo, last_words(&finished.stderr));
        GitError::refused(format!("{repo} cannot be read at {}: {why}", remote.url))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_git_is_told_from_a_new_one() {
        for new in ["git version 2.31.0", "git version 2.39.5 (Apple Git-154)", "git version 3.0.rc1"] {
            assert_eq!(new_enough(new.into()).unwrap(), new);
        }
        for old in ["git version 2.30.9", "git version 1.8.3.1", "what?", ""] {
            assert!(new_enough(old.into()).unwrap_err().message.contains("2.31"), "{old}");
        }
    }
}
