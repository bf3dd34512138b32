//! Tells the job that kills the daemon from the others. A commit decides what the daemon does in clone, in checkout and
//! while the context is sent; a job there is *exposed*. After two deaths at which a job was exposed it is exposed alone.
//! A third death then names it, and costs no other job more than a repetition.

use std::sync::Arc;

use futures_util::future::Either;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::model::{Job, LogSink};

/// The place where jobs are exposed. Jobs come in the order in which they ask.
#[derive(Clone, Default)]
pub struct Isolation(Arc<RwLock<()>>);

/// The right to be exposed, shared or alone, until it is dropped.
pub(super) type Exposure = Either<OwnedRwLockReadGuard<()>, OwnedRwLockWriteGuard<()>>;

impl Isolation {
    /// Waits until the job may be exposed. The log says why it waits.
    pub(super) async fn enter(&self, job: &Job, log: &dyn LogSink) -> Exposure {
        if job.is_suspect() {
            let kills = job.kills;
            log.write(
                format!(
                    "This stage runs while no other job clones, checks out or sends its context, because the daemon was \
                     killed {kills} times while this job did\n"
                )
                .as_bytes(),
            );
            return Either::Right(self.0.clone().write_owned().await);
        }
        if let Ok(shared) = self.0.clone().try_read_owned() {
            return Either::Left(shared);
        }
        log.write(b"This stage waits for another job, which runs alone because it may have killed the daemon\n");
        Either::Left(self.0.clone().read_owned().await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobContext, NewJob, RepoCase};

    struct NoLog;
    impl LogSink for NoLog {
        fn write(&self, _: &[u8]) {}
    }

    fn job(kills: u32) -> Job {
        let text =
            r#"{"owner":"a","repo":"b","branch":"c","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"HEAD"}"#;
        let context: JobContext = serde_json::from_str(text).unwrap();
        Job { kills, ..Job::pending(NewJob::new(context, "q.io/a:b".into()), RepoCase::Keep) }
    }

    #[tokio::test]
    async fn a_suspect_is_alone_and_the_others_are_not() {
        let isolation = Isolation::default();
        let (innocent, suspect) = (job(1), job(2));
        let enter = |job: &Job| {
            let (isolation, job) = (isolation.clone(), job.clone());
            tokio::spawn(async move { isolation.enter(&job, &NoLog).await })
        };
        let first = enter(&innocent).await.unwrap();
        let second = enter(&innocent).await.unwrap();
        let alone = enter(&suspect);
        drop(first);
        tokio::task::yield_now().await;
        assert!(!alone.is_finished());
        drop(second);
        let alone = alone.await.unwrap();
        let (next, after) = (enter(&suspect), enter(&innocent));
        tokio::task::yield_now().await;
        assert!(!next.is_finished() && !after.is_finished());
        drop(alone);
        drop(next.await.unwrap());
        after.await.unwrap();
    }
}
