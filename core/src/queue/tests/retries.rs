use super::*;

fn engine_died() -> Outcome {
    let (cause, class) = (Some("build: the engine is gone".into()), Some(FailureClass::Engine));
    Outcome {
        status: Status::Failure,
        stages: running(StageName::Build),
        resolved_commit: None,
        digest: None,
        cause,
        class,
        superseded_by: None,
        tags: Vec::new(),
    }
}

impl Bench {
    /// A new job whose engine died in its first attempt.
    async fn at_rest(&mut self) -> JobId {
        let id = self.add().await.id;
        let (run, end) = self.next().await;
        drop(run);
        end.send(engine_died()).unwrap();
        self.status(id, Status::Pending).await;
        id
    }
}

#[tokio::test]
async fn what_infrastructure_ends_runs_again_after_a_rest() {
    let mut bench = start(config(1)).await;
    let id = bench.add().await.id;
    let (run, end) = bench.next().await;
    drop(run);
    end.send(engine_died()).unwrap();
    let job = bench.status(id, Status::Pending).await;
    assert_eq!((job.failures, job.class, job.cause), (1, Some(FailureClass::Engine), engine_died().cause));
    assert_eq!(job.stages, Stages::pending());
    assert!(bench.runs.try_recv().is_err() && bench.store.due_notifications(9).await.unwrap().is_empty());
    // The retry wakes the queue by itself, after 2 s at most.
    let (run, end) = bench.next().await;
    assert_eq!((run.job.id, run.job.attempt), (id, 2));
    drop(run);
    end.send(outcome(Status::Success)).unwrap();
    assert_eq!(bench.status(id, Status::Success).await.class, None);
    let log = bench.log(id);
    assert!(
        log.contains("Attempt 1 ended (engine): build: the engine is gone. Attempt 2 follows in 2 s (retry 1 of 2).")
    );
}

#[tokio::test]
async fn three_attempts_are_all() {
    let mut bench = start(config(1)).await;
    let id = bench.add().await.id;
    for attempt in 1..=ATTEMPTS {
        let (run, end) = bench.next().await;
        assert_eq!(run.job.attempt, attempt);
        drop(run);
        end.send(engine_died()).unwrap();
        bench.after(id, attempt).await;
    }
    let job = bench.status(id, Status::Failure).await;
    assert_eq!((job.attempt, job.class), (3, Some(FailureClass::Engine)));
    assert_eq!(bench.store.due_notifications(9).await.unwrap().len(), 1);
    let last = format!("The build ended (engine): build: the engine is gone. {}\n", FailureClass::Engine.advice());
    let log = bench.log(id);
    assert!(log.ends_with(&last), "{log}");
}

#[tokio::test]
async fn a_job_that_rests_is_cancelled_at_once() {
    let mut bench = start(config(1)).await;
    let id = bench.at_rest().await;
    let job = bench.handle.cancel(id, "me").await.unwrap();
    assert_eq!((job.status, job.class), (Status::Cancelled, Some(FailureClass::Cancelled)));
    let log = bench.log(id);
    assert!(
        log.trim_end().lines().last().unwrap().starts_with("The build ended (cancelled): it was cancelled"),
        "{log}"
    );
}

#[tokio::test]
async fn one_that_was_cancelled_as_it_failed_does_not_run_again() {
    let mut bench = start(config(1)).await;
    let id = bench.add().await.id;
    let (run, end) = bench.next().await;
    drop(run);
    // The handle does not know of it yet.
    bench.store.cancel(id, "me").await.unwrap();
    end.send(engine_died()).unwrap();
    let job = bench.status(id, Status::Cancelled).await;
    assert_eq!((job.failures, job.class), (0, Some(FailureClass::Cancelled)));
    // Only the stored end tells that the job was cancelled, so this line alone comes after it.
    until(async || bench.log(id).lines().last()?.starts_with("The build ended (cancelled)").then_some(())).await;
}

#[tokio::test]
async fn a_rest_outlives_the_daemon_and_no_clock_makes_it_longer() {
    let mut bench = start(config(1)).await;
    let id = bench.at_rest().await;
    bench.sql("UPDATE jobs SET not_before = not_before + 60000").await;
    let (dir, store) = bench.stop().await;
    let mut bench = start_on(dir, store, config(1));
    let other = bench.add().await.id;
    assert_eq!(bench.next().await.0.job.id, other);
    assert_eq!(bench.store.job(id).await.unwrap().unwrap().status, Status::Pending);
    // As if the clock had been an hour ahead when it was put to rest.
    bench.sql("UPDATE jobs SET not_before = not_before + 3600000").await;
    bench.handle.wake();
    let (run, _end) = bench.next().await;
    assert_eq!((run.job.id, run.job.failures), (id, 1));
}
