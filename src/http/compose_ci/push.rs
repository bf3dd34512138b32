use serde::Deserialize;
use serde_json::Value;

use crate::http::error::{ApiError, shortened};
use crate::http::messages;
use crate::http::violation::unstorable_text;
use crate::intake::ForgePush;
use crate::model::{CommitId, CommitSpec, Dialect, GitRef, RepoName, is_no_commit};
use crate::store::NewDelivery;

/// The fields of GitHub's push event that a job needs. A call by hand has `after` alone, or `repository` beside it.
#[derive(Deserialize)]
#[serde(expecting = "the object of a push event")]
pub struct CiPush {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    deleted: Option<bool>,
    forced: Option<bool>,
    head_commit: Option<CiCommit>,
    repository: Option<CiRepository>,
    /// Any JSON, because no job depends on it. Other events than a push have it, some with an `after`, too.
    action: Option<Value>,
    /// Any JSON, because no job depends on it.
    sender: Option<Value>,
}

#[derive(Deserialize)]
struct CiCommit {
    message: Option<String>,
}

#[derive(Deserialize)]
struct CiRepository {
    full_name: Option<String>,
    fork: Option<bool>,
    default_branch: Option<String>,
}

impl CiPush {
    pub fn is_other_event(&self) -> bool {
        self.action.is_some()
    }

    pub fn is_deletion(&self) -> bool {
        self.deleted == Some(true) || self.after.as_deref().is_some_and(is_no_commit)
    }

    /// Returns true for a push that a forge reports. A person who calls by hand names no ref.
    pub fn is_reported(&self) -> bool {
        self.git_ref.as_ref().is_some_and(|name| !name.is_empty())
    }

    /// Returns the push. `default_repo` is the repository of a call that names none.
    ///
    /// # Errors
    /// The repository or the commit is missing or unusable.
    pub fn read(self, default_repo: Option<&RepoName>, delivery: NewDelivery) -> Result<ForgePush, ApiError> {
        let unusable = |why: String| ApiError::with(&messages::BAD_BUILD, why);
        let (name, default_branch, fork) = match self.repository {
            Some(CiRepository { full_name: name @ Some(_), default_branch, fork }) => (name, default_branch, fork),
            _ => (default_repo.map(ToString::to_string), None, None),
        };
        let name = name.ok_or_else(|| {
            unusable("it names no repository: send repository.full_name, or have the operator set GITHUB_REPO".into())
        })?;
        let repo = RepoName::parse(&name).map_err(|error| unusable(error.to_string()))?;
        let after = self.after.unwrap_or_default();
        match CommitSpec::parse(&after) {
            Ok(CommitSpec::Full(_) | CommitSpec::Short(_)) => {}
            _ => {
                let after = shortened(&after);
                let why = "is no commit's id: send its hexadecimal digits, or ask for a branch by POST /job";
                return Err(unusable(format!("after {after:?} {why}")));
            }
        }
        let git_ref = self.git_ref.filter(|name| !name.is_empty());
        if let Some(wrong) = git_ref.as_deref().and_then(|name| unstorable_text(name, "#/ref")) {
            return Err(ApiError::Invalid(vec![wrong]));
        }
        let sender = self.sender.as_ref().and_then(|sender| sender["login"].as_str());
        Ok(ForgePush {
            owner: repo.owner().into(),
            repo: repo.name().into(),
            git_ref,
            before: self.before.and_then(|before| CommitId::parse(&before).ok()),
            after: Some(after),
            forced: self.forced == Some(true),
            is_fork: fork == Some(true),
            default_branch: default_branch.filter(|name| GitRef::new(name).is_ok()),
            message: self.head_commit.and_then(|head| head.message),
            sender: sender.filter(|login| login.len() <= 255 && !login.contains(char::is_control)).map(str::to_owned),
            dialect: Dialect::ComposeCi,
            delivery,
        })
    }
}
