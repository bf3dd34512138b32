use std::sync::Arc;

use super::secrets::{Live, loaded};
use super::{Finding, ProbedRepo};
use crate::app::assemble;
use crate::app::data_dir::temporary_dir;
use crate::git;
use crate::intake::AllowedRepos;
use crate::model::RepoName;
use crate::pipeline;
use crate::settings::Settings;

pub const NAME: &str = "git";
pub const PROGRAMS: &str = "programs";

/// Checks that Git and ssh are installed and new enough, and that ssh knows hosts.
pub async fn programs(settings: Arc<Settings>) -> Vec<Finding> {
    let (mut found, mut findings) = (Vec::new(), Vec::new());
    for program in git::programs().await {
        match program {
            Ok(version) => found.push(version),
            Err(error) => findings.push(Finding::bad(PROGRAMS, error.message)),
        }
    }
    if findings.is_empty() {
        findings.push(Finding::ok(PROGRAMS, found.join(", ")));
    }
    findings.push(known_hosts(&settings));
    findings
}

fn known_hosts(settings: &Settings) -> Finding {
    let read = || -> anyhow::Result<_> {
        let dir = temporary_dir()?;
        let path = assemble::git::known_hosts(settings, dir.path())?;
        let text = String::from_utf8_lossy(&std::fs::read(&path)?).into_owned();
        Ok((path.clone(), path.starts_with(dir.path()), text))
    };
    let (path, is_shipped, text) = match read() {
        Err(error) => {
            let why = format!("the known hosts cannot be read: {error:#}; correct KNOWN_HOSTS");
            return Finding::bad(PROGRAMS, why);
        }
        Ok(read) => read,
    };
    // The file of added keys need not exist.
    let added = assemble::git::added_hosts(settings).and_then(|file| {
        let text = std::fs::read_to_string(&file).ok()?;
        Some((file, text))
    });
    let from = if is_shipped { "the shipped file, of GitHub".into() } else { path.display().to_string() };
    let counts =
        [Some((path, text)), added].into_iter().flatten().map(|(path, text)| (path, git::count_host_keys(&text)));
    let counts: Vec<_> = counts.collect();
    let keys: usize = counts.iter().map(|(_, (keys, _))| keys).sum();
    let other = counts.iter().find_map(|(path, (_, other))| other.map(|line| format!("{}:{line}", path.display())));
    match (keys, other) {
        (0, None) => Finding::warn(
            PROGRAMS,
            format!(
                "there is no host key in {from}: ssh connects to none; `image-factory known-hosts add HOST` shows a host's keys and adds them"
            ),
        ),
        (_, Some(line)) => Finding::warn(
            PROGRAMS,
            format!(
                "host keys: {keys} in {from}; {line} is none, so that ssh passes over it: write names, kind and key as ssh-keyscan shows them, or remove the line"
            ),
        ),
        (_, None) => Finding::ok(PROGRAMS, format!("host keys: {keys} in {from}")),
    }
}

/// Checks that the repository can be read, as a job reads it.
pub async fn check(settings: Arc<Settings>, live: Live, probed: Option<ProbedRepo>) -> Vec<Finding> {
    let Some(ProbedRepo { repo, branch }) = probed else {
        return vec![Finding::ok(NAME, "no repository was tried: `image-factory doctor --repo OWNER/REPO` does")];
    };
    let Some(secrets) = loaded(live).await else {
        return vec![Finding::warn(NAME, format!("{repo} was not tried: the secrets cannot be read"))];
    };
    // The other checks are made all the same, because they say what will be missing next.
    let mut findings = Vec::from_iter(refused(&settings, &repo));
    let git_url = settings.git_url.as_ref().map(|url| url.0.as_str());
    let source = match pipeline::source(git_url, &secrets, &repo) {
        Ok(source) => source,
        Err(error) => {
            findings.push(Finding::bad(NAME, error.message));
            return findings;
        }
    };
    let probe = async {
        let dir = temporary_dir()?;
        let known_hosts = assemble::git::known_hosts(&settings, dir.path())?;
        let config = assemble::git::config(&settings, dir.path().into(), dir.path().into(), known_hosts);
        anyhow::Ok(git::probe(&config, &source, branch.as_ref()).await?)
    };
    let by = source.key.as_ref().map_or("without a key".into(), |key| format!("with the key {}", key.fingerprint()));
    let what = branch.as_ref().map_or(repo.to_string(), |branch| format!("{repo}, {branch}"));
    findings.push(match probe.await {
        Ok(commit) => Finding::ok(NAME, format!("{what} can be fetched {by}: {commit}")),
        Err(error) => Finding::bad(NAME, format!("{error:#}")),
    });
    findings
}

/// Returns a finding if the daemon would refuse every job of the repository.
fn refused(settings: &Settings, repo: &RepoName) -> Option<Finding> {
    let allowed = AllowedRepos::new(&settings.allow_repos.0, assemble::git::repo_case(settings)).ok()?;
    let why = || format!("{repo} is not built here: ALLOW_REPOS does not name it; add it there");
    (!allowed.allow(repo.owner(), repo.name())).then(|| Finding::bad(NAME, why()))
}
