use crate::model::{CommitId, FailedStep, FailureClass, SkipReason};

/// The failure of a stage.
pub(super) struct StageFailure {
    pub exit_code: i32,
    pub class: FailureClass,
    /// One line that says what is wrong, where, and what to do.
    pub message: String,
    /// Step of the Dockerfile that failed.
    pub step: Option<Box<FailedStep>>,
}

impl StageFailure {
    pub fn new(class: FailureClass, message: impl ToString) -> Self {
        Self { exit_code: 1, class, message: message.to_string(), step: None }
    }
}

/// The commit that a tag stays at.
#[derive(Clone)]
pub(super) struct KeptTag {
    pub commit: CommitId,
    /// Protected ref that has the tag; `None` if its ref named the commit later.
    pub protected_ref: Option<String>,
}

/// The reason why a job ends without success.
pub(super) enum JobEnd {
    /// The cause, which names the stage, and its class.
    Failed(String, FailureClass),
    Cancelled,
    /// The settings do not have the commit built.
    Skipped(SkipReason),
    /// The job's own tag stays where it is.
    Superseded(KeptTag),
}
