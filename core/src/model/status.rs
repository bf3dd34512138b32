use crate::words;

words! {
    /// State of a job. `Success`, `Failure` and `Cancelled` are terminal.
    pub enum Status {
        Pending = "pending",
        Running = "running",
        Success = "success",
        Failure = "failure",
        Cancelled = "cancelled",
    }
}

impl Status {
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Cancelled)
    }
}

/// Event that changes the state of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A node took the job.
    Claim,
    /// The job's node stopped or lost it, so it runs again from the start.
    Requeue,
    Finish(Status),
    /// A user, or a newer commit, cancelled the job while it waited. A running job gets a signal instead, and finishes as
    /// cancelled.
    Cancel,
    /// The secret that the job waited for cannot be used for too long.
    GiveUp,
}

/// An event that does not fit the job's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} cannot take {event:?}", .status.as_str())]
pub struct Conflict {
    pub status: Status,
    pub event: Event,
}

/// Returns the state of a job after an event. The function is the whole state machine of a job.
pub fn transition(status: Status, event: Event) -> Result<Status, Conflict> {
    match (status, event) {
        (Status::Pending, Event::Claim) => Ok(Status::Running),
        (Status::Pending, Event::Cancel) => Ok(Status::Cancelled),
        (Status::Pending, Event::GiveUp) => Ok(Status::Failure),
        (Status::Running, Event::Requeue) => Ok(Status::Pending),
        (Status::Running, Event::Finish(end)) if end.is_terminal() => Ok(end),
        _ => Err(Conflict { status, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_state_takes_no_event() {
        for status in [Status::Success, Status::Failure, Status::Cancelled] {
            for event in [Event::Claim, Event::Requeue, Event::Cancel, Event::Finish(Status::Success)] {
                assert_eq!(transition(status, event), Err(Conflict { status, event }));
            }
        }
    }

    #[test]
    fn a_job_runs_to_an_end_or_is_requeued() {
        assert_eq!(transition(Status::Pending, Event::Claim), Ok(Status::Running));
        assert_eq!(transition(Status::Running, Event::Requeue), Ok(Status::Pending));
        assert_eq!(transition(Status::Running, Event::Finish(Status::Failure)), Ok(Status::Failure));
        assert!(transition(Status::Running, Event::Finish(Status::Pending)).is_err());
        assert!(transition(Status::Running, Event::Claim).is_err());
    }
}
