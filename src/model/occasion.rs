use super::Status;

/// How a job can end that people are told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    Failure,
    /// The first success after a failure.
    Fixed,
    Success,
}

impl Occasion {
    /// Of a job that ended so, after one of its branch that ended so before. None of one that has not ended or was
    /// cancelled, be it by a newer commit: that is nobody's failure.
    pub fn of(status: Status, previous: Option<Status>) -> Option<Self> {
        match status {
            Status::Failure => Some(Self::Failure),
            Status::Success if previous == Some(Status::Failure) => Some(Self::Fixed),
            Status::Success => Some(Self::Success),
            Status::Pending | Status::Running | Status::Cancelled => None,
        }
    }

    /// Whether one who wants to hear of these hears of it.
    pub fn is_among(self, wanted: &[Self]) -> bool {
        wanted.contains(&self) || self == Self::Fixed && wanted.contains(&Self::Success)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_is_fixed_after_a_failure_alone() {
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
