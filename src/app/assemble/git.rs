use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::git::{self, GitAccess, GitBounds, GitConfig, GitToken, TarballApi};
use crate::intake::Selection;
use crate::model::RepoCase;
use crate::process::{GroupLimits, ProgramGroup};
use crate::settings::{FileTimes, Settings};
use crate::store::Store;

/// Host keys of GitHub, so that a first start needs no set-up.
const SHIPPED_KNOWN_HOSTS: &str = include_str!("../../../etc/known_hosts");
/// Number of processes and threads of Git, and of ssh for it, at once.
const PROCESSES: u32 = 1024;
const SYSTEM_KNOWN_HOSTS: &str = "/etc/image-factory/known_hosts";

/// Returns the configuration of Git, whose mirrors are in `dir` and whose sockets are in `run_dir`.
pub fn config(settings: &Settings, dir: PathBuf, run_dir: PathBuf, known_hosts: PathBuf) -> GitConfig {
    GitConfig {
        dir,
        run_dir,
        known_hosts,
        added_hosts: added_hosts(settings),
        access: access(settings),
        pure_history_times: settings.file_times == FileTimes::History,
        repo_case: repo_case(settings),
        bounds: GitBounds {
            files: settings.max_files.get().into(),
            bytes: settings.max_tree_bytes.0,
            refs: settings.max_refs.get().into(),
            memory: settings.git_memory.0,
            cpu_time: settings.git_cpu_time,
            group: None,
            disk_reserve: settings.disk_floor.0 / 2,
        },
    }
}

/// Makes the control group of all processes of Git, and logs which limits they have. They may take twice GIT_MEMORY
/// together, the cache of the files that they write included.
pub fn group(settings: &Settings) -> Option<&'static ProgramGroup> {
    let limits = GroupLimits { memory: settings.git_memory.0.saturating_mul(2), processes: PROCESSES };
    match ProgramGroup::make(limits) {
        Ok(group) => {
            let GroupLimits { memory, processes } = limits;
            tracing::info!(
                "git: all of its processes share {} MiB in a control group, {processes} at most",
                memory >> 20
            );
            Some(group)
        }
        Err(why) => {
            tracing::info!("git: each of its processes has limits of its own, because {why}");
            None
        }
    }
}

/// Returns the token and the authorities for the Git server.
pub fn access(settings: &Settings) -> GitAccess {
    let tarballs = TarballApi { url: settings.github_api.0.clone(), token: settings.github_token.clone() };
    GitAccess::new(token(settings), settings.git_cacert.clone()).with_tarballs(Some(tarballs))
}

/// Returns the rule for case in the names of repositories: REPO_CASE, or the rule of the host of GIT_URL.
pub fn repo_case(settings: &Settings) -> RepoCase {
    settings.repo_case.0.unwrap_or_else(|| match &settings.git_url {
        Some(url) => RepoCase::of_host(&git::host_of(&url.0).unwrap_or_default()),
        None => RepoCase::of_host("github.com"),
    })
}

/// Says if jobs name one repository in two spellings, and nobody decided whether they are two repositories.
pub async fn warn_of_spellings(settings: &Settings, store: &Store) -> anyhow::Result<()> {
    if settings.repo_case.0.is_none()
        && repo_case(settings) == RepoCase::Keep
        && let Some([one, other]) = store.two_spellings().await?
    {
        tracing::warn!(
            "{one} and {other} are two repositories here, because the host of GIT_URL is not a known one: set \
             REPO_CASE=ignore if they are one there, else REPO_CASE=keep"
        );
    }
    Ok(())
}

/// Returns the rules of which pushes are built.
pub fn selection(settings: &Settings) -> Selection {
    Selection {
        branches: settings.branches.0.clone(),
        tags: settings.git_tags.0.clone(),
        skip_words: settings.skip_words.0,
        no_forks: !settings.build_forks.0,
    }
}

/// Returns the token for https: GIT_TOKEN, else GITHUB_TOKEN.
pub fn token(settings: &Settings) -> Option<GitToken> {
    GitToken::new(
        settings.git_token.as_ref().or(settings.github_token.as_ref())?,
        settings.git_url.as_ref().map(|url| url.0.as_str()),
    )
}

/// Returns the file to which `image-factory known-hosts add` adds, unless that is KNOWN_HOSTS.
pub fn added_hosts(settings: &Settings) -> Option<PathBuf> {
    let file = std::path::absolute(settings.data_dir().join("known_hosts")).ok()?;
    // ssh cannot be given a path with quotes.
    (settings.known_hosts.is_none() && !file.to_string_lossy().contains(['"', '\n'])).then_some(file)
}

/// Returns the files of host keys that others than this program write; some may be missing.
pub fn written_hosts(settings: &Settings) -> Vec<PathBuf> {
    let main = settings.known_hosts.clone().unwrap_or_else(|| SYSTEM_KNOWN_HOSTS.into());
    [Some(main), added_hosts(settings)].into_iter().flatten().collect()
}

/// Returns the file of host keys: KNOWN_HOSTS, else the system's file, else the shipped one, which is written into `run_dir`.
pub fn known_hosts(settings: &Settings, run_dir: &Path) -> anyhow::Result<PathBuf> {
    if let Some(path) = &settings.known_hosts {
        fs::metadata(path).with_context(|| format!("KNOWN_HOSTS={path:?} cannot be read"))?;
        return Ok(path.clone());
    }
    let system = Path::new(SYSTEM_KNOWN_HOSTS);
    if system.exists() {
        return Ok(system.into());
    }
    let shipped = run_dir.join("known_hosts");
    fs::write(&shipped, SHIPPED_KNOWN_HOSTS).with_context(|| format!("cannot write {}", shipped.display()))?;
    Ok(shipped)
}
