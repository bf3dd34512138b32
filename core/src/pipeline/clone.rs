use std::sync::Arc;

use super::Tools;
use super::failure::{JobEnd, StageFailure};
use super::plan::Plan;
use super::retry::with_retries;
use super::stage::StageRunner;
use super::wanted::Wanted;
use crate::git::{Fault, GitError, Mirror, RepoSource};
use crate::model::{Dialect, FailureClass, Job, JobSource, NameError, Origin, RepoName, RepoRef, StageName, bare_name};
use crate::secrets::{DeployKey, Secrets};

/// The job's plan and the names that it asks for, with the mirror that holds its commit.
pub(super) struct Fetched {
    pub repo: RepoName,
    /// Address of the repository; `None` for a Dockerfile that came without one, as for the mirror.
    pub url: Option<String>,
    pub wanted: Wanted,
    /// Ref that the job counts for, once its commit is known; `None` for a commit that is built without a ref.
    pub git_ref: Option<RepoRef>,
    /// Name of the repository's default branch, as the push or the server says it, if a tag depends on it.
    pub default_branch: Option<String>,
    pub mirror: Option<Mirror>,
    pub plan: Plan,
    /// Number of the last fetch that had begun when the job began.
    pub began: u64,
}

impl Fetched {
    /// Returns the name of the synced context in the engine. Each repository (by its key), Dockerfile, target and context,
    /// with `.git` or without, has its own, because these choices decide which files the engine asks for, and the engine
    /// forgets the other files. The table of file times is kept by repository alone, because all of its Dockerfiles and
    /// targets may share a cache mount.
    pub fn sync_key(&self, repository: &str) -> String {
        let target = self.plan.target.as_deref().unwrap_or_default();
        let mut key = format!("{repository}\n{}\n{target}", self.plan.dockerfile);
        if !self.plan.context.is_root() {
            key += &format!("\n{}", self.plan.context);
        }
        if self.plan.keep_git_dir {
            key += "\n.git\n";
        }
        key
    }
}

impl From<GitError> for StageFailure {
    fn from(e: GitError) -> Self {
        Self { exit_code: e.exit_code, ..Self::new(e.fault.class(), e.message) }
    }
}

impl From<NameError> for StageFailure {
    fn from(e: NameError) -> Self {
        Self { exit_code: 128, ..Self::new(FailureClass::Source, e) }
    }
}

/// Returns the source of a repository, by the template of GIT_URL if there is one.
///
/// # Errors
/// The repository's stored deploy key cannot be used; the error names it. A GIT_URL by https, http or file needs no key,
/// so there the unusable key is ignored.
pub fn source(git_url: Option<&str>, secrets: &Secrets, repo: &RepoName) -> Result<RepoSource, GitError> {
    let is_keyless = |url: &str| ["https://", "http://", "file://"].iter().any(|scheme| url.starts_with(scheme));
    let key = match secrets.deploy_key(repo) {
        Err(_) if git_url.is_some_and(is_keyless) => None,
        Err(error) => return Err(GitError { exit_code: 128, message: error.to_string(), fault: Fault::Config }),
        Ok(key) => key,
    };
    Ok(source_by(git_url, repo, key))
}

fn source_by(git_url: Option<&str>, repo: &RepoName, key: Option<Arc<DeployKey>>) -> RepoSource {
    let template = match (git_url, &key) {
        (Some(template), _) => template,
        (None, Some(_)) => "git@github.com:{owner}/{repo}.git",
        (None, None) => "https://github.com/{owner}/{repo}.git",
    };
    let url = template.replace("{owner}", repo.owner()).replace("{repo}", repo.name());
    RepoSource { repo: repo.clone(), url, key }
}

/// Returns true for a job whose files come from a tarball; `tarballs` is SOURCE=tarball.
pub(super) fn is_tarball(tarballs: bool, job: &Job) -> bool {
    tarballs && job.source == JobSource::Git && job.dialect == Dialect::ComposeCi
}

/// Returns what a job asks for, where its repository is, and how the job is built.
pub(super) fn planned(
    tools: &Tools,
    secrets: &Secrets,
    job: &Job,
) -> Result<(RepoName, Wanted, RepoSource, Plan), StageFailure> {
    let repo = tools.git.first_spelling(&RepoName::new(&job.context.owner, &job.context.repo)?);
    let wanted = Wanted::from_job(job)?;
    let git_url = tools.config.git_url.as_deref();
    let source = match source(git_url, secrets, &repo) {
        // A tarball comes by HTTPS, so its job runs without a key that cannot be used.
        Err(_) if is_tarball(tools.config.tarballs, job) => source_by(git_url, &repo, None),
        source => source?,
    };
    Ok((repo, wanted, source, Plan::new(tools, secrets, job)?))
}

/// Plans the job, and brings the mirror of its repository up to date.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    runner: &mut StageRunner,
) -> Result<(Fetched, Mirror), JobEnd> {
    let began = tools.git.last_fetch_number();
    let log = runner.log.clone();
    let (repo, wanted, source, plan) = match planned(tools, secrets, &runner.job) {
        Ok(planned) => planned,
        // The command leaves out an invalid name, which only the message shows.
        Err(failed) => return runner.stage(StageName::Clone, "git clone", async { Err(failed) }).await,
    };
    if runner.job.origin == Origin::Rebuild {
        tools.git.forget_key_refusals(&source);
    }
    let default_branch = runner.job.default_branch.clone();
    // A forge that reported a push has the repository, so whoever pushed cannot mend that we do not see it.
    let is_reported = matches!(runner.job.origin, Origin::Hook | Origin::Missed);
    let url = source.url.clone();
    let command = match &wanted.branch {
        Some(branch) => format!("git clone --branch {} {url} ./", bare_name(branch.as_str())),
        None => format!("git clone {url} ./"),
    };
    let pauses = tools.pauses.of(runner.job.id);
    let work = async {
        let try_once = || {
            let Wanted { commit, branch, pushed_ref, is_granted } = &wanted;
            let may_be_old = pushed_ref.is_some() || branch.is_none();
            let clone = tools.git.clone_at(&source, branch.as_ref(), commit, *is_granted, may_be_old, &*log);
            let fetch = async { clone.await.map_err(|error| error.of_existing(is_reported)) };
            log.fetch_within(tools.config.clone_timeout, fetch)
        };
        with_retries(tools.config.clone_timeout, pauses, &*log, try_once).await
    };
    let mirror = runner.stage(StageName::Clone, &command, work).await?;
    let (url, of_fetched) = (Some(url), Some(mirror.clone()));
    Ok((Fetched { repo, url, wanted, git_ref: None, default_branch, mirror: of_fetched, plan, began }, mirror))
}
