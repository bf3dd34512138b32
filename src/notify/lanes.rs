use std::collections::{HashMap, HashSet};
use std::future::Future;

use tokio::task::{Id, JoinSet};

use crate::store::Notification;

/// How many are sent to one destination at once.
pub(super) const AT_ONCE: u32 = 8;

/// A channel and its destination.
type Place = (String, String);

/// What is being sent: of a lane one, to a destination a few, and to any number of destinations, so that one that hangs
/// stops no other.
#[derive(Default)]
pub(super) struct Lanes {
    tasks: JoinSet<()>,
    sent_by: HashMap<Id, (Place, String)>,
    lanes: HashSet<String>,
    places: HashMap<Place, u32>,
}

impl Lanes {
    /// Whether this one may go now.
    pub fn are_free_for(&self, notification: &Notification) -> bool {
        let count = self.places.get(&place(notification)).copied().unwrap_or_default();
        count < AT_ONCE && !self.lanes.contains(&notification.lane)
    }

    pub fn send(&mut self, notification: &Notification, sending: impl Future<Output = ()> + Send + 'static) {
        let (place, lane) = (place(notification), notification.lane.clone());
        self.lanes.insert(lane.clone());
        *self.places.entry(place.clone()).or_default() += 1;
        let task = self.tasks.spawn(sending);
        self.sent_by.insert(task.id(), (place, lane));
    }

    /// Waits until one has ended; for ever when nothing is under way.
    pub async fn one_ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        if let Some((place, lane)) = self.sent_by.remove(&id) {
            self.lanes.remove(&lane);
            if let Some(count) = self.places.get_mut(&place) {
                *count -= 1;
                if *count == 0 {
                    self.places.remove(&place);
                }
            }
        }
    }
}

fn place(notification: &Notification) -> Place {
    (notification.channel.clone(), notification.destination.clone())
}
