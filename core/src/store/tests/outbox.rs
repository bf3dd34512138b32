//! The states of notifications, and the indices that keep queries cheap beside a million sent ones.

use std::sync::atomic::{AtomicI64, Ordering};

use super::*;
use crate::model::NotificationState::{self, Dead, Due, Replaced, Sent};
use crate::store::outbox;

/// A store whose clock is so many milliseconds ahead, with a job that told of these (lane, body), oldest first.
async fn told(rows: &[(&'static str, bool)]) -> (tempfile::TempDir, Store, Arc<AtomicI64>, Job) {
    let (dir, store) = open().await;
    let ahead = Arc::new(AtomicI64::new(0));
    let by = ahead.clone();
    let store = store.with_clock(Arc::new(move || Millis(Millis::now().0 + by.load(Ordering::Relaxed))));
    add(&store, "a").await;
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    let rows: Vec<_> = rows
        .iter()
        .map(|&(lane, replaces)| NewNotification { lane: lane.into(), replaces, ..notification("{}") })
        .collect();
    let all: Announce = Arc::new(move |_, _| rows.clone());
    let job = store.clone().with_announce(all).finish(job.id, 1, &outcome(Status::Failure)).await.unwrap();
    (dir, store, ahead, job)
}

async fn list(store: &Store, of: NotificationFilter) -> Vec<NotificationRecord> {
    store.notifications(&of, 99).await.unwrap()
}

async fn states(store: &Store) -> Vec<NotificationState> {
    list(store, NotificationFilter::default()).await.into_iter().rev().map(|letter| letter.state).collect()
}

const DAY: i64 = 24 * 3600 * 1000;

#[tokio::test]
async fn they_are_listed_in_pages_by_state_and_by_job() {
    let (_dir, store, _, job) = told(&[("a", false), ("b", false), ("c", false), ("c", true)]).await;
    let due = store.due_notifications(9).await.unwrap();
    assert_eq!(due.iter().map(|n| n.lane.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    store.notification_failed(&due[0].id, "it was answered 410 Gone", None).await.unwrap();
    store.notification_sent(&due[1].id).await.unwrap();
    assert_eq!(states(&store).await, [Dead, Sent, Replaced, Due]);

    let all = list(&store, NotificationFilter::default()).await;
    assert!(all.is_sorted_by(|a, b| a.id > b.id));
    let page = store
        .notifications(&NotificationFilter { before: Some(all[0].id.clone()), ..NotificationFilter::default() }, 2)
        .await
        .unwrap();
    assert_eq!(page, all[1..3]);
    let dead = NotificationFilter { state: Some(Dead), ..NotificationFilter::default() };
    assert_eq!(list(&store, dead.clone()).await, all[3..]);
    assert_eq!(all[3].error.as_deref(), Some("it was answered 410 Gone"));
    assert_eq!(list(&store, NotificationFilter { job: Some(job.id), ..dead.clone() }).await, all[3..]);
    assert_eq!(list(&store, NotificationFilter { job: Some(job.id), ..NotificationFilter::default() }).await, all);
    assert_eq!(list(&store, NotificationFilter { job: Some(JobId::new()), ..dead }).await, []);
}

#[tokio::test]
async fn only_a_dead_one_is_sent_again() {
    let (_dir, store, _, _) = told(&[("a", false), ("b", false)]).await;
    let due = store.due_notifications(9).await.unwrap();
    store.notification_failed(&due[0].id, "gone", None).await.unwrap();
    store.notification_sent(&due[1].id).await.unwrap();
    let again = store.replay_notification(&due[0].id).await.unwrap();
    assert_eq!((again.state, again.attempts), (Due, 0));
    for (id, why) in [
        (&due[0].id, "the notification is due: only a dead one is sent again"),
        (&due[1].id, "the notification is sent: only a dead one is sent again"),
        (&"nobody's".to_owned(), "there is no notification nobody's"),
    ] {
        assert_eq!(store.replay_notification(id).await.unwrap_err().to_string(), why);
    }
}

#[tokio::test]
async fn the_sent_are_kept_for_30_days_and_the_dead_for_90() {
    let lanes: Vec<_> = (0..250).map(|_| ("lane", true)).chain([("a", false), ("b", false)]).collect();
    let (_dir, store, ahead, _) = told(&lanes).await;
    for due in store.due_notifications(9).await.unwrap() {
        match due.lane.as_str() {
            "a" => _ = store.notification_failed(&due.id, "gone", None).await.unwrap(),
            "b" => {}
            _ => store.notification_sent(&due.id).await.unwrap(),
        }
    }
    for (day, sent, replaced, dead) in [(29, 1, 249, 1), (31, 0, 0, 1), (89, 0, 0, 1), (91, 0, 0, 0)] {
        ahead.store(day * DAY, Ordering::Relaxed);
        store.tidy_notifications().await.unwrap();
        let all = store.notifications(&NotificationFilter::default(), 999).await.unwrap();
        let count = |state| all.iter().filter(|letter| letter.state == state).count();
        assert_eq!([Sent, Replaced, Dead, Due].map(count), [sent, replaced, dead, 1], "day {day}");
    }
}

/// The clock was a year ahead, and is set right: what it wrote is not put off for a year.
#[tokio::test]
async fn a_clock_that_is_set_back_holds_nothing_back() {
    let (_dir, store, ahead, _) = told(&[("a", false)]).await;
    let due = store.due_notifications(9).await.unwrap().remove(0);
    let later = Millis::now() + Duration::from_secs(60);
    store.notification_failed(&due.id, "500", Some(later)).await.unwrap();
    ahead.store(-365 * DAY, Ordering::Relaxed);
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 0);
    store.tidy_notifications().await.unwrap();
    assert_eq!(store.due_notifications(9).await.unwrap().len(), 1);
    // The notification has 24 hours from now.
    let again = store.now() + Duration::from_secs(23 * 3600);
    assert_eq!(store.notification_failed(&due.id, "500", Some(again)).await.unwrap(), Some(again));
}

/// Notifications of a version before lanes are sent, each in a lane of its own.
#[tokio::test]
async fn an_older_outbox_is_taken_over() {
    let conn = SqlConnection::open(Path::new(":memory:")).unwrap();
    conn.execute_all(include_str!("../migrations/0001_initial.sql")).unwrap();
    for id in ["a", "b"] {
        let old = "INSERT INTO outbox VALUES ($1, 'job', 'post-build', '{}', 'due', 2, 1000, 3000, 'refused')";
        conn.execute(old, &[&id]).unwrap();
    }
    conn.execute_all(include_str!("../migrations/0002_told.sql")).unwrap();
    let due = conn.all(outbox::DUE, &[&"post-build", &"", &3000, &9], |row| row.get::<_, String>("id")).unwrap();
    assert_eq!(due, ["a", "b"]);
    let ends = conn.all("SELECT DISTINCT expires FROM outbox", &[], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(ends, [1000 + DAY]);
}

/// No statement of the outbox looks at every row.
#[tokio::test]
async fn every_look_has_its_index() {
    let (_dir, store) = open().await;
    let statements = [
        ("destinations", outbox::DESTINATIONS, "outbox_places"),
        ("due", outbox::DUE, "outbox_places"),
        ("due, of the lane", outbox::DUE, "outbox_lanes"),
        ("replace", outbox::REPLACE, "outbox_lanes"),
        ("list", outbox::LISTS[0], "sqlite_autoindex_outbox_1"),
        ("list of a state", outbox::LISTS[1], "outbox_states"),
        ("list of a job", outbox::LISTS[2], "outbox_jobs"),
        ("old", outbox::OLD, "outbox_by_state"),
        ("ahead", outbox::AHEAD, "outbox_by_state"),
    ];
    for (name, statement, index) in statements {
        let plan = store.read(|conn| conn.plan(statement)).await.unwrap();
        assert!(plan.iter().any(|step| step.contains(index)), "{name}: {plan:#?}");
        let scans = |step: &String| step.starts_with("SCAN outbox") && name != "list";
        assert!(!plan.iter().any(scans), "{name}: {plan:#?}");
        assert!(!plan.iter().any(|step| step.contains("TEMP B-TREE")), "{name}: {plan:#?}");
    }
}
