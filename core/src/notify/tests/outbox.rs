//! The order, the retries and the end of notifications. The clock is the test's.

use super::*;
use crate::model::NotificationState::{self, Dead, Due, Replaced, Sent};
use crate::notify::lanes::AT_ONCE;
use crate::notify::post_build::{NAME, destination};
use crate::store::NewNotification;

impl Bench {
    /// Adds rows of one job to the receiver: lane, whether it replaces, body.
    async fn add(&self, rows: &[(&str, bool, &str)]) {
        let destination = destination(&self.hooks.urls[0]);
        let row = |&(lane, replaces, body): &(&str, bool, &str)| NewNotification {
            channel: NAME,
            destination: destination.clone(),
            lane: lane.into(),
            replaces,
            body: body.into(),
        };
        let rows: Vec<_> = rows.iter().map(row).collect();
        self.job_with(
            Status::Success,
            None,
            Arc::new(move |job, _| match job.status {
                Status::Success => rows.clone(),
                _ => Vec::new(),
            }),
        )
        .await;
    }

    /// Sends until nothing is due. Returns the bodies that arrived.
    async fn round(&mut self) -> Vec<String> {
        let (sender, mut lanes) = (self.sender(), Lanes::default());
        let mut bodies = Vec::new();
        while !self.store.due_notifications(1).await.unwrap().is_empty() {
            sender.start(&mut lanes).await.unwrap();
            lanes.one_ended().await;
        }
        while let Ok((_, _, body)) = self.got.try_recv() {
            bodies.push(body);
        }
        bodies
    }

    fn pass(&self, seconds: u64) {
        self.ahead.fetch_add(seconds, Ordering::Relaxed);
    }

    async fn states(&self) -> Vec<NotificationState> {
        self.records().await.into_iter().map(|record| record.state).collect()
    }
}

#[tokio::test]
async fn the_oldest_row_of_a_lane_holds_back_only_its_lane() {
    let mut bench = stopped(&[500], None).await;
    bench.add(&[("a", false, "a1")]).await;
    bench.add(&[("a", false, "a2")]).await;
    assert_eq!(bench.round().await, ["a1"]);
    bench.add(&[("b", false, "b1"), ("a", false, "a3")]).await;
    assert_eq!(bench.round().await, ["b1"]);
    bench.pass(1);
    assert_eq!(bench.round().await, ["a1", "a2", "a3"]);
    assert_eq!(bench.states().await, [Sent; 4]);
}

#[tokio::test]
async fn a_dead_row_makes_way_and_a_newer_row_replaces_unsent_ones() {
    let mut bench = stopped(&[410, 500], None).await;
    bench.add(&[("a", false, "a1"), ("a", false, "a2"), ("a", false, "a3")]).await;
    assert_eq!(bench.round().await, ["a1", "a2"]);
    assert_eq!(bench.states().await, [Dead, Due, Due]);
    bench.add(&[("b", false, "b1"), ("a", true, "a4")]).await;
    assert_eq!(bench.states().await, [Replaced, Replaced, Replaced, Due, Due]);
    let mut came = bench.round().await;
    came.sort_unstable();
    assert_eq!(came, ["a4", "b1"]);
    bench.add(&[("a", true, "a5")]).await;
    assert_eq!(bench.states().await[4..], [Sent, Due], "what was sent stays sent");
}

/// A notification in flight ends, and its result is stored, before the newer one that replaces it is sent.
#[tokio::test]
async fn a_newer_row_waits_for_the_one_in_flight() {
    for is_sent in [true, false] {
        let bench = stopped(&[], None).await;
        let mut lanes = Lanes::default();
        bench.add(&[("a", true, "a1")]).await;
        let old = bench.store.due_notifications(AT_ONCE).await.unwrap().remove(0);
        let (go, gate) = tokio::sync::oneshot::channel();
        let (store, id) = (bench.store.clone(), old.id.clone());
        lanes.send(&old, async move {
            gate.await.unwrap();
            match is_sent {
                true => store.notification_sent(&id).await.unwrap(),
                false => {
                    let again = store.now() + Duration::from_secs(1);
                    let next = store.notification_failed(&id, "answered 500", Some(again)).await.unwrap();
                    assert_eq!(next, None);
                }
            }
        });
        bench.add(&[("a", true, "a2")]).await;
        let due = bench.store.due_notifications(AT_ONCE).await.unwrap();
        assert_eq!(due.iter().map(|n| n.body.as_str()).collect::<Vec<_>>(), ["a2"]);
        assert!(!lanes.are_free_for(&due[0]));
        go.send(()).unwrap();
        lanes.one_ended().await;
        assert!(lanes.are_free_for(&due[0]));
        assert_eq!(bench.states().await, [if is_sent { Sent } else { Replaced }, Due]);
    }
}

#[tokio::test]
async fn a_notification_is_retried_for_a_day_and_then_dead_until_it_is_replayed() {
    let mut bench = stopped(&[500; 1000], None).await;
    bench.job(Status::Success, None).await;
    let began = bench.store.now();
    let mut tries = 0;
    let mut last = began;
    while bench.states().await == [Due] {
        last = bench.store.now();
        assert_eq!(bench.round().await.len(), 1);
        tries += 1;
        match bench.store.next_notification().await.unwrap() {
            Some(next) => bench.pass(next.since(bench.store.now()).as_secs() + 1),
            None => assert_eq!(bench.states().await, [Dead]),
        }
    }
    let hours = last.since(began).as_secs_f64() / 3600.0;
    assert!((23.9..24.0).contains(&hours), "{hours} h");
    assert!((288..600).contains(&tries), "{tries} tries");
    let dead = bench.records().await.remove(0);
    assert_eq!((dead.attempts, dead.error.as_deref()), (tries, Some("it was answered 500 Internal Server Error")));

    // A replay has another day, and the pauses begin anew.
    let again = bench.store.replay_notification(&dead.id).await.unwrap();
    assert_eq!((again.id.as_str(), again.state.as_str(), again.attempts), (dead.id.as_str(), "due", 0));
    bench.round().await;
    let next = bench.store.next_notification().await.unwrap().unwrap();
    assert!(next.since(bench.store.now()) <= Duration::from_secs(1));
}

/// A destination that never answers has thousands of rows: few are in flight, and another destination waits for none.
#[tokio::test]
async fn a_destination_that_hangs_delays_no_other() {
    let hung = stopped(&[0; 100], None).await;
    let mut bench = stopped(&[], None).await;
    let good = bench.hooks.urls[0].clone();
    bench.hooks.urls = hung.hooks.urls.clone();
    let lanes: Vec<_> = (0..3000).map(|n| format!("hung {n}")).collect();
    bench.add(&lanes.iter().map(|lane| (lane.as_str(), false, "hung")).collect::<Vec<_>>()).await;
    let mut hung = hung;
    bench.hooks.urls.insert(0, good.clone());
    bench.spawn(bench.shutdown.clone());
    for _ in 0..AT_ONCE {
        hung.next().await;
    }
    bench.hooks.urls = vec![good];
    for _ in 0..10 {
        bench.add(&[("good", false, "good")]).await;
        assert_eq!(bench.next().await.2, "good");
    }
    assert!(hung.got.try_recv().is_err(), "more than {AT_ONCE} at once");
    bench.shutdown.cancel();
}

/// A receiver's own pause counts, unless it is shorter than ours or longer than a week.
#[tokio::test]
async fn retry_after_is_respected() {
    let now = Millis(784_111_777_000); // Sun, 06 Nov 1994 08:49:37 GMT, the date of RFC 9110
    for (text, wait) in [
        ("120", Some(120)),
        ("0", Some(0)),
        ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
        ("Sun, 06 Nov 1994 08:48:37 GMT", Some(0)),
        ("99999999999999", Some(7 * 24 * 3600)),
        ("-1", None),
        ("soon", None),
    ] {
        assert_eq!(crate::notify::send_error::parse_retry_after(text, now), wait.map(Duration::from_secs), "{text}");
    }
    let app = axum::Router::new().fallback(async || (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "600")]));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut bench = stopped(&[], None).await;
    bench.hooks.urls = vec![format!("http://{}", listener.local_addr().unwrap())];
    tokio::spawn(async move { axum::serve(listener, app).await });
    bench.job(Status::Success, None).await;
    bench.round().await;
    let next = bench.store.next_notification().await.unwrap().unwrap();
    assert!((595..=600).contains(&next.since(bench.store.now()).as_secs()));
}
