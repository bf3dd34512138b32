//! SWEEP_MISSED: finds heads of branches that no webhook reported, and queues them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::branch_heads;
use crate::intake::{Intake, Refusal};
use crate::model::{JobContext, JobId, RepoName};
use crate::pipeline::Tools;
use crate::store::{KnownBranch, Store, StoreError};

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_secs(15 * 60);
/// Time for one repository's answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The sweep for missed pushes.
pub struct Missed {
    tools: Arc<Tools>,
    store: Store,
    intake: Intake,
    /// The errors of repositories that were logged last, so that each is logged once.
    logged: HashMap<String, String>,
}

impl Missed {
    pub fn new(tools: Arc<Tools>, store: Store, intake: Intake) -> Self {
        Self { tools, store, intake, logged: HashMap::new() }
    }

    /// Sweeps at once and then every 15 minutes, one repository after the other, until it is dropped.
    pub async fn run(mut self) {
        // The deploy keys come with the secrets.
        if self.tools.secrets.clone().wait_for(|secrets| secrets.loaded).await.is_err() {
            return;
        }
        loop {
            if let Err(error) = self.round().await {
                tracing::warn!(%error, "missed pushes cannot be found, because the store failed: the next sweep is in 15 minutes");
            }
            sleep(PAUSE).await;
        }
    }

    async fn round(&mut self) -> Result<(), StoreError> {
        let mut last = String::new();
        while let Some((repository, branches)) = self.store.known_branches(&last).await? {
            let error = self.sweep_repository(&branches).await?.err();
            match error {
                Some(error) if self.logged.get(&repository) != Some(&error) => {
                    tracing::warn!(repo = repository, error, "missed pushes cannot be found in this repository");
                    self.logged.insert(repository.clone(), error);
                }
                Some(_) => {}
                None => _ = self.logged.remove(&repository),
            }
            last = repository;
        }
        Ok(())
    }

    /// Queues the missed heads of one repository. The inner error is the repository's, in one line.
    async fn sweep_repository(&self, branches: &[KnownBranch]) -> Result<Result<(), String>, StoreError> {
        // The newest spelling counts, because pushes may have spelled one repository in several ways.
        let Some(JobContext { owner, repo, .. }) = branches.last().map(|branch| &branch.context) else {
            return Ok(Ok(()));
        };
        if !self.intake.policy().allows(owner, repo) {
            return Ok(Ok(()));
        }
        let asked = JobId::new();
        let heads = match RepoName::new(owner, repo) {
            Ok(name) => timeout(ANSWER_TIMEOUT, branch_heads::heads(&self.tools, &name)).await,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let heads = match heads {
            Ok(Ok(heads)) => heads,
            Ok(Err(error)) => return Ok(Err(error.message)),
            Err(_) => return Ok(Err(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()))),
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
}
