//! SWEEP_MISSED: finds the commits of branches that no webhook told of, and queues them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::git::{GitError, Oid};
use crate::intake::{Intake, Refusal};
use crate::model::{JobContext, JobId, RepoName};
use crate::pipeline::{self, Tools};
use crate::store::{KnownBranch, Store, StoreError};

const PAUSE: Duration = Duration::from_secs(15 * 60);
/// For one repository's answer.
const LIMIT: Duration = Duration::from_secs(60);

pub struct Missed {
    tools: Arc<Tools>,
    store: Store,
    intake: Intake,
    /// What is wrong with a repository, as it was logged.
    troubles: HashMap<String, String>,
}

impl Missed {
    pub fn new(tools: Arc<Tools>, store: Store, intake: Intake) -> Self {
        Self { tools, store, intake, troubles: HashMap::new() }
    }

    /// Looks at once and then every 15 minutes, at one repository after the other, until it is dropped.
    pub async fn run(mut self) {
        // Before that there is no deploy key.
        if self.tools.secrets.clone().wait_for(|secrets| secrets.loaded).await.is_err() {
            return;
        }
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "missed pushes cannot be looked for: trying again in 15 minutes");
            }
            sleep(PAUSE).await;
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let mut last = String::new();
        while let Some((repository, branches)) = self.store.known_branches(&last).await? {
            let trouble = self.look_at(&branches).await?.err();
            match trouble {
                Some(trouble) if self.troubles.get(&repository) != Some(&trouble) => {
                    tracing::warn!(repo = repository, trouble, "missed pushes cannot be looked for");
                    self.troubles.insert(repository.clone(), trouble);
                }
                Some(_) => {}
                None => _ = self.troubles.remove(&repository),
            }
            last = repository;
        }
        Ok(())
    }

    /// The inner error is the repository's, in one line.
    async fn look_at(&self, branches: &[KnownBranch]) -> Result<Result<(), String>, StoreError> {
        // One repository may have been written in several ways; the newest counts.
        let Some(JobContext { owner, repo, .. }) = branches.last().map(|branch| &branch.context) else {
            return Ok(Ok(()));
        };
        if !self.intake.policy().allows(owner, repo) {
            return Ok(Ok(()));
        }
        let asked = JobId::new();
        let heads = match RepoName::new(owner, repo) {
            Ok(name) => timeout(LIMIT, self.heads(&name)).await,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let heads = match heads {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => return Ok(Err(error.message)),
            Err(_) => return Ok(Err(format!("no answer within {} s", LIMIT.as_secs()))),
        };
        for branch in branches {
            if let Some(head) = heads.get(&branch.context.branch) {
                match self.intake.missed(branch, head.to_string(), asked).await {
                    Ok(_) => {}
                    Err(Refusal::Store(error)) => return Err(error),
                    Err(error) => {
                        tracing::warn!(repo = %format!("{owner}/{repo}"), %error, "a missed push is not built");
                    }
                }
            }
        }
        Ok(Ok(()))
    }

    async fn heads(&self, repo: &RepoName) -> Result<HashMap<String, Oid>, GitError> {
        let secrets = self.tools.secrets.borrow().clone();
        let source =
            pipeline::source(self.tools.config.git_url.as_deref(), &secrets, &self.tools.git.first_spelling(repo))?;
        self.tools.git.heads(&source).await
    }
}
