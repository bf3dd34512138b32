//! Which ends of an attempt are followed by another one, and when.

use std::time::Duration;

use crate::model::{FailureClass, Job, Outcome, StageName, StageStatus, Status};
use crate::store::Retry;

/// How often a job that infrastructure ends is run. What a stop of the daemon ends is not counted.
pub const ATTEMPTS: u32 = 3;

/// The rest before the second attempt, and before the third.
const RESTS: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(30)];
/// After an engine's trouble the queue itself waits until one is well. What is left for this rest is that the trouble
/// be noticed there, too.
const ENGINE_RESTS: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];

/// None: this outcome is final. `jitter` is 0 to 1, and makes of a rest three quarters to all of it, so that jobs that
/// were ended by one thing do not come back as one.
pub fn retry(job: &Job, outcome: &Outcome, jitter: f64) -> Option<Retry> {
    let class = outcome.class.filter(|class| class.is_infrastructure() && outcome.status == Status::Failure)?;
    // The push itself has asked the registry for PUSH_RETRIES times PUSH_RETRY_WAIT, 7 minutes unless it is set: three
    // times as long would be longer than anybody waits.
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
            let is_retried = [FailureClass::Registry, FailureClass::Engine, FailureClass::LostWorker].contains(&class);
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
