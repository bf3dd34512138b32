use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use super::send_error::SendError;
use crate::model::{Job, Millis, Status};
use crate::store::{NewNotification, Notification, Store};

/// A way to notify people or programs of jobs.
pub trait Channel: Send + Sync {
    /// Returns the name that the outbox, the metrics and the API have. Stored rows name their channel, so a name never
    /// changes.
    fn name(&self) -> &'static str;

    /// Returns the outbox rows for a job that has just begun to run, whose commit has just become known while it runs, or
    /// that has just ended. `previous` is how the branch's previous job ended. The store calls this inside its transaction, so it is pure and quick.
    fn rows(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification>;

    /// Returns the host that notifications for a destination go to, if the destination is configured now.
    fn host(&self, destination: &str) -> Option<String>;

    /// Sends one notification; `now` is the store's time.
    fn send<'a>(&'a self, notification: &'a Notification, now: Millis) -> BoxFuture<'a, Result<(), SendError>>;

    /// Returns the channel's work beside sending, if it has any. It runs until the daemon stops.
    fn background(&self, store: &Store) -> Option<BoxFuture<'static, ()>> {
        let _ = store;
        None
    }
}

/// The channels that the settings configure. They can be replaced while notifications are sent. Clones share them.
#[derive(Clone, Default)]
pub struct Channels(watch::Sender<Arc<[Arc<dyn Channel>]>>);

impl Channels {
    pub fn new(channels: Vec<Arc<dyn Channel>>) -> Self {
        Self(watch::Sender::new(channels.into()))
    }

    /// Takes over the channels of `new`. A notification that is being sent keeps its channel.
    pub fn replace(&self, new: &Self) {
        self.0.send_replace(new.present());
    }

    /// Returns a receiver that sees each replacement from now on.
    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<[Arc<dyn Channel>]>> {
        self.0.subscribe()
    }

    fn present(&self) -> Arc<[Arc<dyn Channel>]> {
        self.0.borrow().clone()
    }

    /// Returns the outbox rows of all channels for a job; see [`Channel::rows`].
    pub fn announce(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
        self.present().iter().flat_map(|channel| channel.rows(job, previous)).collect()
    }

    /// Returns the host of a channel's destination, if both are configured now.
    pub fn host(&self, channel: &str, destination: &str) -> Option<String> {
        self.find(channel)?.host(destination)
    }

    pub(super) async fn send(&self, notification: &Notification, now: Millis) -> Result<(), SendError> {
        let channel = &notification.channel;
        let Some(channel) = self.find(channel) else {
            return Err(SendError::permanent(format!("the settings no longer configure the channel {channel}")));
        };
        channel.send(notification, now).await
    }

    /// Returns the work of all channels beside sending.
    pub(super) fn background(&self, store: &Store) -> Vec<BoxFuture<'static, ()>> {
        self.present().iter().filter_map(|channel| channel.background(store)).collect()
    }

    fn find(&self, name: &str) -> Option<Arc<dyn Channel>> {
        self.present().iter().find(|channel| channel.name() == name).cloned()
    }
}
