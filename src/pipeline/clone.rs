use std::time::Duration;

use super::plan::Plan;
use super::stage::{End, Failed, Stagehand};
use super::{Tools, heads};
use crate::git::{Blame, GitError, Mirror, Source};
use crate::model::{CommitSpec, FailureClass, GitRef, LogSink, NameError, RepoName, RepoRef, StageName};
use crate::secrets::Secrets;

/// The original's budget: one more try, ten seconds later.
const RETRY_WAIT: Duration = Duration::from_secs(10);

/// A mirror that holds what the job wants, and what that is.
pub(super) struct Fetched {
    pub repo: RepoName,
    pub url: String,
    pub branch: GitRef,
    pub commit: CommitSpec,
    pub mirror: Mirror,
    pub plan: Plan,
    /// The ref that the job is of; None if it is of none.
    pub git_ref: Option<RepoRef>,
    /// The number of the last fetch that had begun when the job began.
    pub began: u64,
}

impl From<GitError> for Failed {
    fn from(e: GitError) -> Self {
        let class = match e.blame {
            Blame::Asked | Blame::Server => FailureClass::Source,
            Blame::Machine => FailureClass::LostWorker,
        };
        Self { exit_code: e.exit_code, class, message: e.message }
    }
}

impl From<NameError> for Failed {
    fn from(e: NameError) -> Self {
        Self { exit_code: 128, class: FailureClass::Source, message: e.to_string() }
    }
}

/// Where a job's repository comes from, by the template of GIT_URL if there is one.
pub fn source(git_url: Option<&str>, secrets: &Secrets, repo: &RepoName) -> Source {
    let key = secrets.deploy_key(repo);
    let template = match (git_url, &key) {
        (Some(template), _) => template,
        (None, Some(_)) => "git@github.com:{owner}/{repo}.git",
        (None, None) => "https://github.com/{owner}/{repo}.git",
    };
    let url = template.replace("{owner}", repo.owner()).replace("{repo}", repo.name());
    Source { repo: repo.clone(), url, key }
}

pub(super) async fn run(tools: &Tools, secrets: &Secrets, hand: &mut Stagehand) -> Result<Fetched, End> {
    let began = tools.git.last_number();
    let (job, log) = (hand.job.clone(), hand.log.clone());
    let context = &job.context;
    let wanted = || -> Result<_, NameError> {
        let repo = RepoName::new(&context.owner, &context.repo)?;
        Ok((repo, GitRef::new(&context.branch)?, CommitSpec::parse(&context.commit)?))
    };
    let planned = wanted().map_err(Failed::from).and_then(|names| Ok((names, Plan::of(tools, secrets, context)?)));
    let ((repo, branch, commit), plan) = match planned {
        Ok(planned) => planned,
        // Such a name is shown, but never as part of a command.
        Err(failed) => return hand.stage(StageName::Clone, "git clone", async { Err(failed) }).await,
    };
    let source = source(tools.config.git_url.as_deref(), secrets, &repo);
    let url = source.url.clone();
    let command = format!("git clone --branch {branch} {url} ./");
    let work = async {
        let try_once = || {
            let clone = tools.git.clone(&source, &branch, &commit, context.pushed, &*log);
            log.within(tools.config.clone_timeout, "CLONE_TIMEOUT", async { Ok(clone.await) })
        };
        let mirror = match try_once().await? {
            Err(e) if e.is_transient() => {
                wait(&e, &*log).await;
                try_once().await??
            }
            other => other?,
        };
        let git_ref = heads::ref_of(tools, &mirror, &job, &branch).await;
        if let Some(git_ref) = &git_ref {
            heads::note(tools, &mirror, git_ref, began).await;
        }
        Ok((mirror, git_ref))
    };
    let (mirror, git_ref) = hand.stage(StageName::Clone, &command, work).await?;
    Ok(Fetched { repo, url, branch, commit, mirror, plan, git_ref, began })
}

/// Before the second try.
pub(super) async fn wait(error: &GitError, log: &dyn LogSink) {
    log.write(format!("{}\nOnce more in {} s.\n", error.message, RETRY_WAIT.as_secs()).as_bytes());
    tokio::time::sleep(RETRY_WAIT).await;
}
