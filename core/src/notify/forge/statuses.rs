//! The channel that sets commit statuses.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::github::GitHub;
use super::reconcile::reconcile;
use super::status::{CHANNEL, CommitStatus};
use crate::model::{Job, Millis, Status};
use crate::notify::channel::Channel;
use crate::notify::send_error::SendError;
use crate::store::{NewNotification, Notification, Store};

/// Sets the status of each job's commit at GitHub.
pub struct CommitStatuses(Arc<GitHub>);

impl CommitStatuses {
    pub fn new(github: GitHub) -> Self {
        Self(Arc::new(github))
    }

    async fn set(&self, notification: &Notification) -> Result<(), SendError> {
        let status: CommitStatus = serde_json::from_str(&notification.body)
            .map_err(|error| SendError::permanent(format!("its row in the outbox is damaged: {error}")))?;
        self.0.set(notification.job, &status).await
    }
}

impl Channel for CommitStatuses {
    fn name(&self) -> &'static str {
        CHANNEL
    }

    fn rows(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        CommitStatus::of(job).map(|status| status.row(self.0.host())).into_iter().collect()
    }

    /// The destination is the host.
    fn host(&self, destination: &str) -> Option<String> {
        Some(destination.to_owned())
    }

    fn send<'a>(&'a self, notification: &'a Notification, _now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        self.set(notification).boxed()
    }

    fn background(&self, store: &Store) -> Option<BoxFuture<'static, ()>> {
        Some(reconcile(store.clone(), self.0.clone()).boxed())
    }
}
