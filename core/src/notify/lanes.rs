use std::collections::{HashMap, HashSet};
use std::future::Future;

use tokio::task::{Id, JoinSet};

use crate::store::Notification;

/// The most notifications that are in flight to one destination.
pub(super) const AT_ONCE: u32 = 8;

/// A channel and one of its destinations.
type Receiver = (String, String);

/// The notifications in flight: at most one of a lane and [`AT_ONCE`] to a destination. The number of destinations is
/// not limited, so one that hangs delays no other.
#[derive(Default)]
pub(super) struct Lanes {
    tasks: JoinSet<()>,
    /// The receiver and the lane of each task.
    sent_by: HashMap<Id, (Receiver, String)>,
    busy_lanes: HashSet<String>,
    in_flight: HashMap<Receiver, u32>,
}

impl Lanes {
    /// Returns whether this notification may be sent now.
    pub fn are_free_for(&self, notification: &Notification) -> bool {
        let count = self.in_flight.get(&receiver(notification)).copied().unwrap_or_default();
        count < AT_ONCE && !self.busy_lanes.contains(&notification.lane)
    }

    /// Starts `sending`, which sends this notification.
    pub fn send(&mut self, notification: &Notification, sending: impl Future<Output = ()> + Send + 'static) {
        let (receiver, lane) = (receiver(notification), notification.lane.clone());
        self.busy_lanes.insert(lane.clone());
        *self.in_flight.entry(receiver.clone()).or_default() += 1;
        let task = self.tasks.spawn(sending);
        self.sent_by.insert(task.id(), (receiver, lane));
    }

    /// Waits until one notification is no longer in flight, and for ever if none is.
    pub async fn one_ended(&mut self) {
        let id = match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
            None => std::future::pending().await,
        };
        if let Some((receiver, lane)) = self.sent_by.remove(&id) {
            self.busy_lanes.remove(&lane);
            if let Some(count) = self.in_flight.get_mut(&receiver) {
                *count -= 1;
                if *count == 0 {
                    self.in_flight.remove(&receiver);
                }
            }
        }
    }
}

fn receiver(notification: &Notification) -> Receiver {
    (notification.channel.clone(), notification.destination.clone())
}
