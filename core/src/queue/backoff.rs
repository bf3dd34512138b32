//! The rules by which another attempt follows one that infrastructure ended.

use std::time::Duration;

use crate::model::{FailureClass, Job, Outcome, StageName, StageStatus, Status};
use crate::store::Retry;

/// The number of attempts of a job that infrastructure ends. An attempt that a stop of the daemon ends is not counted.
pub const ATTEMPTS: u32 = 3;

/// The rests before the second attempt, and before the third.
const RESTS: [Duration; ATTEMPTS as usize - 1] = [Duration::from_secs(5), Duration::from_secs(30)];
/// The rests after an engine's failure. They only have to last until the pool notices it, because the queue then waits for
/// a healthy engine.
const ENGINE_RESTS: [Duration; ATTEMPTS as usize - 1] = [Duration::from_secs(2), Duration::from_secs(15)];

/// Returns the next attempt, or `None` if the outcome is final. A `jitter` from 0 to 1 makes the rest 75 % to 100 % of
/// its length, so that jobs that failed together do not come back together.
pub fn retry(job: &Job, outcome: &Outcome, jitter: f64) -> Option<Retry> {
    let class = outcome.class.filter(|class| class.is_infrastructure() && outcome.status == Status::Failure)?;
    // A push has already retried PUSH_RETRIES times, for 7 minutes by default. Three times as long is longer than anybody
    // waits.
    let in_push = outcome.stages.0.iter().any(|s| s.name == StageName::Push && s.status == StageStatus::Failure);
    if class == FailureClass::Registry && in_push {
        return None;
    }
    let rests = if class == FailureClass::Engine { ENGINE_RESTS } else { RESTS };
    let rest = rests.get(job.failures as usize)?;
    Some(Retry {
        class,
        cause: outcome.cause.clone().unwrap_or_default(),
        resolved_commit: outcome.resolved_commit.clone(),
        rest: rest.mul_f64(0.75 + jitter / 4.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobContext, NewJob, Stages};

    fn retried(class: FailureClass, failures: u32, failed: StageName) -> Option<f64> {
        let context = r#"{"owner":"a","repo":"b","branch":"c","commit":"HEAD","github":true,"dockerRepoBase":"q.io",
            "tag":"HEAD"}"#;
        let context: JobContext = serde_json::from_str(context).unwrap();
        let job = Job {
            failures,
            ..Job::pending(NewJob::new(context, "q.io/a-b:HEAD".into()), crate::model::RepoCase::default())
        };
        let mut stages = Stages::pending();
        stages.get_mut(failed).unwrap().status = StageStatus::Failure;
        let status = if class == FailureClass::Cancelled { Status::Cancelled } else { Status::Failure };
        let (cause, class) = (Some("because".into()), Some(class));
        let outcome = Outcome {
            status,
            stages,
            resolved_commit: None,
            digest: None,
            cause,
            class,
            superseded_by: None,
            tags: Vec::new(),
        };
        retry(&job, &outcome, 1.0).map(|retry| retry.rest.as_secs_f64())
    }

    #[test]
    fn only_infrastructure_is_tried_again_and_not_for_ever() {
        for class in FailureClass::ALL {
            use FailureClass::{Engine, GitHost, LostWorker, Registry};
            let is_retried = [GitHost, Registry, Engine, LostWorker].contains(&class);
            assert_eq!(retried(class, 0, StageName::Build).is_some(), is_retried, "{class:?}");
            assert_eq!(retried(class, ATTEMPTS - 1, StageName::Build), None, "{class:?}");
        }
        assert_eq!(retried(FailureClass::Registry, 0, StageName::Build), Some(5.0));
        assert_eq!(retried(FailureClass::Registry, 1, StageName::Build), Some(30.0));
        assert_eq!(retried(FailureClass::Engine, 0, StageName::Push), Some(2.0));
    }

    #[test]
    fn a_push_that_tried_all_its_times_is_final() {
        assert_eq!(retried(FailureClass::Registry, 0, StageName::Push), None);
    }
}
