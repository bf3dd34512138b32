use serde_json::Map;

use super::request::{Refusal, Request, Requester};
use super::{DEFAULT_COMMIT, Intake};
use crate::model::{CommitId, Dialect, Forge, JobContext, Origin, SkipReason, has_docker_skip};
use crate::store::{Added, NewDelivery, Skipped};

/// A push that a forge reports by a verified webhook. A field that is `None` was absent or empty.
#[derive(Debug)]
pub struct ForgePush {
    pub owner: String,
    pub repo: String,
    /// The ref as the forge names it, usually `refs/heads/…` or `refs/tags/…`.
    pub git_ref: Option<String>,
    /// The commit that the ref named before the push.
    pub before: Option<CommitId>,
    /// The commit that the ref names now.
    pub after: Option<String>,
    /// The forge says that `after` does not follow `before`.
    pub forced: bool,
    /// The name of the repository's default branch.
    pub default_branch: Option<String>,
    /// The message of the commit, if it is known, and if SKIP_WORDS or Conveyor's words need it.
    pub message: Option<String>,
    /// The forge says that the repository is a fork.
    pub is_fork: bool,
    /// User of the forge who pushed.
    pub sender: Option<String>,
    pub dialect: Dialect,
    pub delivery: NewDelivery,
}

impl ForgePush {
    /// The name of the branch or tag: the ref without `refs/heads/` or `refs/tags/`.
    pub fn branch(&self) -> &str {
        let Some(git_ref) = self.git_ref.as_deref() else { return JobContext::BRANCH };
        ["refs/heads/", "refs/tags/"].iter().find_map(|prefix| git_ref.strip_prefix(prefix)).unwrap_or(git_ref)
    }

    /// True if the push came by Conveyor's webhook, and its commit's message has `[docker skip]`.
    fn has_docker_skip(&self) -> bool {
        self.dialect == Dialect::Conveyor && self.message.as_deref().is_some_and(has_docker_skip)
    }

    fn full_ref(&self) -> String {
        self.git_ref.clone().unwrap_or_else(|| format!("refs/heads/{}", JobContext::BRANCH))
    }

    fn into_request(self, docker_repo_base: String) -> Request {
        let branch = self.branch().to_owned();
        let pushed = self.after.is_some();
        let commit = self.after.unwrap_or_else(|| DEFAULT_COMMIT.into());
        let context = JobContext {
            owner: self.owner,
            repo: self.repo,
            branch,
            tag: commit.clone(),
            commit,
            // A commit of another forge has no status at GitHub.
            github: self.delivery.forge == Forge::GitHub,
            docker_repo_base,
            branch_left_out: self.git_ref.is_none(),
            extra: Map::new(),
        };
        Request {
            git_ref: self.git_ref,
            before: self.before,
            pushed,
            forced: self.forced,
            default_branch: self.default_branch,
            exclusive: self.dialect == Dialect::Conveyor,
            delivery: Some(self.delivery),
            ..Request::new(context, Origin::Hook, self.dialect)
        }
    }
}

/// The answer to a push.
#[derive(Debug)]
pub enum Pushed {
    Job(Box<Added>),
    Skipped(SkipReason),
}

impl Intake {
    /// Stores the job that a push asks for, or that the push is skipped. A delivery that came before means the job that it
    /// made then.
    pub async fn push(&self, push: ForgePush) -> Result<Pushed, Refusal> {
        let (repo, git_ref) = (format!("{}/{}", push.owner, push.repo), push.full_ref());
        let is_by_hand = push.dialect == Dialect::ComposeCi && push.git_ref.is_none();
        let skip = self.policy().selection().skips(&git_ref, push.message.as_deref()).filter(|_| !is_by_hand);
        let skip = (self.policy().selection().no_forks && push.is_fork).then_some(SkipReason::Fork).or(skip);
        let skip = skip.or_else(|| push.has_docker_skip().then_some(SkipReason::DockerSkip));
        let sender = push.sender.clone();
        let request = push.into_request(self.policy().destinations().base.clone());
        let by = Requester::Forge { sender: sender.as_deref() };
        let added = match (skip, self.admit(request, by).await?) {
            (Some(reason), (new, Some(delivery))) => match self.store.skip(new, delivery, reason).await? {
                Skipped::New | Skipped::Repeated => {
                    tracing::info!(repo, git_ref, "a push is skipped: {}", reason.text());
                    return Ok(Pushed::Skipped(reason));
                }
                Skipped::Built(job) => Added::Duplicate(*job),
            },
            (_, (new, delivery)) => self.queue.add(new, delivery).await?,
        };
        if let Added::New(job) = &added {
            tracing::debug!(job = %job.id, image = ?job.image, "accepted from a push");
        }
        Ok(Pushed::Job(Box::new(added)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(git_ref: Option<&str>, after: Option<&str>) -> Request {
        let (git_ref, after) = (git_ref.map(str::to_owned), after.map(str::to_owned));
        let (route, digest, forge, event) = ("/", String::new(), Forge::GitHub, "push".into());
        let delivery = NewDelivery { route, digest, delivery_id: None, forge, event };
        let (owner, repo) = ("acme".into(), "hello".into());
        let (before, sender, default_branch, message) = (None, None, None, None);
        let (forced, dialect) = (true, Dialect::Totem);
        let push = ForgePush {
            owner,
            repo,
            git_ref,
            before,
            after,
            forced,
            sender,
            default_branch,
            message,
            is_fork: false,
            dialect,
            delivery,
        };
        push.into_request("q.io/t".into())
    }

    #[test]
    fn a_push_is_its_commit_and_may_be_unreachable_later() {
        let made = request(Some("refs/heads/develop"), Some("1234"));
        let context = made.context;
        assert_eq!((context.owner.as_str(), context.repo.as_str()), ("acme", "hello"));
        assert_eq!((context.commit.as_str(), context.tag.as_str(), made.pushed), ("1234", "1234", true));
        assert_eq!((context.docker_repo_base.as_str(), context.branch_left_out), ("q.io/t", false));
        assert_eq!((made.git_ref.as_deref(), made.forced), (Some("refs/heads/develop"), true));
        let made = request(None, None);
        let context = made.context;
        assert_eq!((context.owner.as_str(), context.branch.as_str()), ("acme", "develop"));
        assert_eq!((context.commit.as_str(), made.pushed, context.branch_left_out), ("HEAD", false, true));
    }
}
