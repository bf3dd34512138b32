use super::Status;
use crate::words;

words! {
    /// End of a job that notifications report.
    pub enum Occasion {
        Failure = "failure",
        /// The first success after a failure.
        Fixed = "fixed",
        Success = "success",
    }
}

impl Occasion {
    /// Classifies how a job ended, given how the previous job of its branch ended. Returns `None` for a job that has not
    /// ended, and for a cancelled one, because that is nobody's failure.
    pub fn of(status: Status, previous: Option<Status>) -> Option<Self> {
        match status {
            Status::Failure => Some(Self::Failure),
            Status::Success if previous == Some(Status::Failure) => Some(Self::Fixed),
            Status::Success => Some(Self::Success),
            Status::Pending | Status::Running | Status::Cancelled => None,
        }
    }

    /// Returns true if a receiver of the `wanted` occasions gets this one. A fix is a success, too.
    pub fn is_among(self, wanted: &[Self]) -> bool {
        wanted.contains(&self) || self == Self::Fixed && wanted.contains(&Self::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_a_fix_only_after_a_failure() {
        use Status::{Cancelled, Failure, Pending, Running, Success};
        for (status, previous, expected) in [
            (Failure, None, Some(Occasion::Failure)),
            (Failure, Some(Failure), Some(Occasion::Failure)),
            (Success, None, Some(Occasion::Success)),
            (Success, Some(Success), Some(Occasion::Success)),
            (Success, Some(Failure), Some(Occasion::Fixed)),
            (Cancelled, Some(Failure), None),
            (Pending, None, None),
            (Running, None, None),
        ] {
            assert_eq!(Occasion::of(status, previous), expected, "{status:?} after {previous:?}");
        }
        assert!(Occasion::Fixed.is_among(&[Occasion::Success]));
        assert!(!Occasion::Success.is_among(&[Occasion::Fixed, Occasion::Failure]));
    }
}
