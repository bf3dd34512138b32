//! Daemons that stop, are killed, or put a job back.

use super::*;

#[tokio::test]
async fn the_shutdown_drains_and_then_puts_back() {
    let mut bench = start(QueueConfig { drain: Duration::from_millis(300), ..config(3) }).await;
    let ids = [bench.add().await.id, bench.add().await.id, bench.add().await.id];
    let mut runs = Vec::new();
    for _ in ids {
        runs.push(bench.next().await);
    }
    let [(_a, end_a), (b, end_b), (c, end_c)] = runs.try_into().ok().unwrap();
    bench.shutdown.cancel();
    let late = bench.add().await.id;
    end_a.send(outcome(Status::Success)).unwrap();
    bench.status(ids[0], Status::Success).await;
    // The drain is over: one stops, one had pushed already.
    timeout(LIMIT, b.cancel.cancelled()).await.unwrap();
    timeout(LIMIT, c.cancel.cancelled()).await.unwrap();
    end_b.send(outcome(Status::Cancelled)).unwrap();
    end_c.send(outcome(Status::Success)).unwrap();
    let (dir, store) = bench.stop().await;
    let state = async |id| store.job(id).await.unwrap().map(|job| (job.status, job.attempt)).unwrap();
    assert_eq!(state(ids[1]).await, (Status::Pending, 1));
    assert_eq!(state(ids[2]).await, (Status::Success, 1));
    assert_eq!(state(late).await, (Status::Pending, 0));
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 2);

    let mut bench = start_on(dir, store, config(1));
    let (run, _end) = bench.next().await;
    assert_eq!((run.job.id, run.job.attempt), (ids[1], 2));
    let log = std::fs::read_to_string(bench.dir.path().join(format!("logs/{}.log", ids[1]))).unwrap();
    assert!(log.contains("runs again") && log.ends_with("[attempt 2]\n"), "{log}");
}

#[tokio::test]
async fn the_log_names_the_attempt_during_which_the_daemon_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let id = add(&store).await.id;
    store.claim("me", LIMIT).await.unwrap().unwrap();
    let mut bench = start_on(dir, store, config(1));
    let (run, end) = bench.next().await;
    assert_eq!((run.job.id, run.job.attempt), (id, 2));
    assert_eq!(bench.log(id), "\n[attempt 2: the daemon stopped during attempt 1]\n");
    drop(run);
    end.send(outcome(Status::Success)).unwrap();
    bench.status(id, Status::Success).await;
}

#[tokio::test]
async fn what_a_killed_daemon_left_runs_again_but_not_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let [once, often] = [add(&store).await.id, add(&store).await.id];
    for _ in 0..10 {
        store.claim("me", LIMIT).await.unwrap().unwrap();
        store.claim("me", LIMIT).await.unwrap().unwrap();
        store.requeue(often, store.job(often).await.unwrap().unwrap().attempt).await.unwrap();
        store.requeue(once, store.job(once).await.unwrap().unwrap().attempt).await.unwrap();
    }
    let fresh = add(&store).await.id;
    store.cancel(once, "me").await.unwrap();
    store.claim("me", LIMIT).await.unwrap().unwrap();
    store.requeue(often, 11).await.unwrap();
    let mut bench = start_on(dir, store, config(1));
    assert_eq!(bench.next().await.0.job.id, fresh);
    let job = bench.status(often, Status::Failure).await;
    assert!(job.cause.unwrap().contains("10 times"));
}

#[tokio::test]
async fn a_job_that_killed_the_daemon_alone_is_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).await.unwrap();
    let [killer, suspect] = [add(&store).await.id, add(&store).await.id];
    let mut bench = start_on(dir, store, config(0));
    bench.sql("UPDATE jobs SET kills = 2").await;
    bench.sql("UPDATE jobs SET kills = 3 WHERE id = (SELECT MIN(id) FROM jobs)").await;
    let (dir, store) = bench.stop().await;
    bench = start_on(dir, store, config(1));
    assert_eq!(bench.next().await.0.job.id, suspect);
    let job = bench.status(killer, Status::Failure).await;
    assert_eq!((job.class, job.failures), (Some(FailureClass::Source), 0));
    let why = "a signal ended the daemon 3 times while this job was in clone, checkout or sending its context. The last \
        time no other job was, so it is not run again. Make the commit smaller, or have the operator look into the \
        machine's log, which names the signal.";
    assert_eq!(bench.log(killer), format!("\nThe build ended (source): {why} {}\n", FailureClass::Source.advice()));
}

#[tokio::test]
async fn a_job_that_is_put_back_runs_again_and_nothing_counts_against_it() {
    let mut bench = start(config(1)).await;
    let id = bench.add().await.id;
    for attempt in 1..=12 {
        let (run, end) = bench.next().await;
        assert_eq!((run.job.attempt, run.job.failures, run.job.moves), (attempt, 0, attempt - 1));
        if attempt == 12 {
            end.send(outcome(Status::Success)).unwrap();
            break;
        }
        // The pipeline and an operator ask by the same signal.
        if attempt % 2 == 0 {
            bench.handle.put_back(id)
        } else {
            run.put_back.cancel()
        }
        timeout(LIMIT, run.cancel.cancelled()).await.unwrap();
        end.send(outcome(Status::Cancelled)).unwrap();
    }
    bench.status(id, Status::Success).await;
    let log = bench.log(id);
    assert_eq!(log.matches("[stopped here: its engine is drained").count(), 11, "{log}");
    assert!(!log.contains("the daemon stopped"), "{log}");
    // A job that was pushed meanwhile is not built again.
    let id = bench.add().await.id;
    let (_run, end) = bench.next().await;
    bench.handle.put_back(id);
    end.send(outcome(Status::Success)).unwrap();
    assert_eq!(bench.status(id, Status::Success).await.attempt, 1);
}
