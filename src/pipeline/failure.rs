use crate::model::{CommitId, FailureClass};

/// The failure of a stage.
pub(super) struct StageFailure {
    pub exit_code: i32,
    pub class: FailureClass,
    /// One line: what is wrong, where, and what to do.
    pub message: String,
}

impl StageFailure {
    pub fn new(class: FailureClass, message: impl ToString) -> Self {
        Self { exit_code: 1, class, message: message.to_string() }
    }
}

/// The end of a job without success.
pub(super) enum JobEnd {
    Failed(String, FailureClass),
    Cancelled,
    /// The job's own tag stays at this commit, which its ref named later.
    Superseded(CommitId),
}
