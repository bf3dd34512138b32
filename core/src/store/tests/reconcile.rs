use super::*;

const DAY: i64 = 24 * 3600 * 1000;

fn row(lane: &str) -> NewNotification {
    let (lane, body) = (lane.into(), "{}".into());
    NewNotification { channel: "test", destination: String::new(), lane, replaces: true, body }
}

/// Ran and ended, without a word to anyone.
async fn ended(store: &Store, repo: &str) -> Job {
    let store = store.clone().with_announce(Arc::new(|_, _| Vec::new()));
    let added = add(&store, repo).await;
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    assert_eq!(job.id, added.id);
    store.finish(job.id, 1, &outcome(Status::Success)).await.unwrap()
}

async fn unreported(store: &Store, also_refused: bool) -> Vec<JobId> {
    let since = Millis(Millis::now().0 - 7 * DAY);
    store.mark_reported("test", since).await.unwrap();
    let jobs = store.unreported("test", since, also_refused, None, 100).await.unwrap();
    jobs.into_iter().map(|job| job.id).collect()
}

#[tokio::test]
async fn what_never_arrived_is_found() {
    let (_dir, store) = open().await;
    let (first, second) = (ended(&store, "a").await, ended(&store, "b").await);
    add(&store, "pending").await;
    assert_eq!(unreported(&store, false).await, [second.id, first.id]);
    let page = store.unreported("test", Millis(0), false, Some(second.id), 100).await.unwrap();
    assert_eq!(page.iter().map(|job| job.id).collect::<Vec<_>>(), [first.id]);
    assert_eq!(store.unreported("test", Millis::now() + LEASE, false, None, 100).await.unwrap(), []);

    // A due notification is under way, and a sent one has arrived. Those of another channel do not count.
    assert!(store.requeue_status(&second, row("lane")).await.unwrap());
    assert_eq!(unreported(&store, false).await, [first.id]);
    sql(&store, "UPDATE outbox SET channel = 'other'").await;
    assert_eq!(unreported(&store, false).await, [second.id, first.id]);
    sql(&store, "UPDATE outbox SET channel = 'test', state = 'sent'").await;
    assert_eq!(unreported(&store, false).await, [first.id]);
    // The mark stays when the row is long gone.
    sql(&store, "DELETE FROM outbox").await;
    assert_eq!(unreported(&store, false).await, [first.id]);
    store.status_reported(first.id).await.unwrap();
    assert_eq!(unreported(&store, true).await, []);
}

#[tokio::test]
async fn what_was_refused_is_not_what_was_tried_in_vain() {
    let (_dir, store) = open().await;
    let job = ended(&store, "a").await;
    store.requeue_status(&job, row("lane")).await.unwrap();
    sql(&store, "UPDATE outbox SET state = 'dead', next_at = created + 5000").await;
    assert_eq!(unreported(&store, false).await, []);
    assert_eq!(unreported(&store, true).await, [job.id]);
    sql(&store, "UPDATE outbox SET next_at = created + 23 * 3600 * 1000").await;
    assert_eq!(unreported(&store, false).await, [job.id]);
    // A report of the start does not count as one of the end.
    sql(&store, "UPDATE outbox SET state = 'sent', created = created - 60000").await;
    assert_eq!(unreported(&store, false).await, [job.id]);
}

#[tokio::test]
async fn nothing_older_is_told_after_something_newer() {
    let (_dir, store) = open().await;
    let (older, newer) = (ended(&store, "a").await, ended(&store, "a").await);
    assert!(store.requeue_status(&newer, row("lane")).await.unwrap());
    assert!(!store.requeue_status(&newer, row("lane")).await.unwrap(), "it waits already");
    sql(&store, "UPDATE outbox SET state = 'sent'").await;
    assert!(!store.requeue_status(&older, row("lane")).await.unwrap(), "it would undo the newer one");
    assert!(store.requeue_status(&newer, row("lane")).await.unwrap());
    assert!(store.requeue_status(&older, row("another")).await.unwrap());
}
