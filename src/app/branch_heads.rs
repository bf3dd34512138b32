//! The heads of a repository's branches, as its host has them now.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::git::{GitError, Oid};
use crate::http::{BranchHead, NoHead};
use crate::model::{CommitId, FailureClass, RepoName};
use crate::pipeline::{self, Tools};

/// Time for the host to answer a request of the API, which has 30 s in all.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// The number of hosts that are asked at once for the API, because each question is a process of Git.
const AT_ONCE: usize = 4;

/// Returns every branch of a repository, by its short name, with its commit.
pub async fn heads(tools: &Tools, repo: &RepoName) -> Result<HashMap<String, Oid>, GitError> {
    let secrets = tools.secrets.borrow().clone();
    let source = pipeline::source(tools.config.git_url.as_deref(), &secrets, &tools.git.first_spelling(repo))?;
    tools.git.heads(&source).await
}

/// Returns the handle by which the API finds the head of a branch.
pub fn handle(tools: Arc<Tools>) -> BranchHead {
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    Arc::new(move |repo, branch| {
        let (tools, slots) = (tools.clone(), slots.clone());
        Box::pin(async move {
            let ask = async {
                let _slot = slots.acquire().await;
                // The deploy keys come with the secrets.
                let _ = tools.secrets.clone().wait_for(|secrets| secrets.loaded).await;
                heads(&tools, &repo).await
            };
            match timeout(ANSWER_TIMEOUT, ask).await {
                Ok(Ok(heads)) => Ok(heads.get(&branch).and_then(|id| CommitId::parse(&id.to_string()).ok())),
                Ok(Err(error)) if error.fault.class() == FailureClass::Source => Err(NoHead::Repository(error.message)),
                Ok(Err(error)) => Err(NoHead::Host(error.message)),
                Err(_) => Err(NoHead::Host(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
            }
        })
    })
}
