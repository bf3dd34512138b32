mod outbox;
mod post_build;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::lanes::Lanes;
use super::sender::OutboxSender;
use super::*;
use crate::metrics::Metrics;
use crate::model::{CommitId, Job, JobContext, Millis, NewJob, Outcome, Stages, Status};
use crate::store::{Added, Announce, NotificationFilter, NotificationRecord, Store};

const LIMIT: Duration = Duration::from_secs(20);

/// A receiver of hooks that answers with these statuses, then with 200. For a 0 it never answers.
#[derive(Clone)]
struct Receiver {
    answers: Arc<Mutex<VecDeque<u16>>>,
    got: mpsc::UnboundedSender<(Method, HeaderMap, String)>,
}

async fn receive(State(to): State<Receiver>, method: Method, headers: HeaderMap, body: String) -> impl IntoResponse {
    let answer = to.answers.lock().unwrap().pop_front().unwrap_or(200);
    to.got.send((method, headers, body)).ok();
    if answer == 0 {
        std::future::pending::<()>().await;
    }
    (StatusCode::from_u16(answer).unwrap(), [(header::LOCATION, "/elsewhere")])
}

struct Bench {
    _dir: tempfile::TempDir,
    store: Store,
    hooks: PostBuildConfig,
    shutdown: CancellationToken,
    /// The seconds by which the store's clock is ahead.
    ahead: Arc<AtomicU64>,
    got: mpsc::UnboundedReceiver<(Method, HeaderMap, String)>,
}

async fn start(answers: &[u16], secret: Option<&str>) -> Bench {
    let bench = stopped(answers, secret).await;
    bench.spawn(bench.shutdown.clone());
    bench
}

/// A bench that sends nothing by itself.
async fn stopped(answers: &[u16], secret: Option<&str>) -> Bench {
    crate::outbound::install_tls_provider();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?token=s3cret", listener.local_addr().unwrap());
    let (tell, got) = mpsc::unbounded_channel();
    let receiver = Receiver { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), got: tell };
    let app = axum::Router::new().fallback(receive).with_state(receiver);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let dir = tempfile::tempdir().unwrap();
    let ahead = Arc::new(AtomicU64::new(0));
    let seconds = ahead.clone();
    let clock = move || Millis::now() + Duration::from_secs(seconds.load(Ordering::Relaxed));
    let store = Store::open(dir.path()).await.unwrap().with_clock(Arc::new(clock));
    let secret = secret.map(|s| Zeroizing::new(s.to_owned()));
    let hooks = PostBuildConfig { urls: vec![url], secret, ..PostBuildConfig::default() };
    Bench { _dir: dir, store, hooks, shutdown: CancellationToken::new(), ahead, got }
}

impl Bench {
    fn channels(&self) -> Channels {
        Channels::new(vec![Arc::new(self.hook())])
    }

    fn hook(&self) -> PostBuild {
        PostBuild::new(self.hooks.clone()).unwrap()
    }

    /// Starts to send the outbox.
    fn spawn(&self, shutdown: CancellationToken) {
        tokio::spawn(run(self.store.clone(), self.channels(), Metrics::new().unwrap(), shutdown));
    }

    /// Adds a job that ended with this status.
    async fn job(&self, status: Status, commit: Option<&str>) -> Job {
        let channels = self.channels();
        self.job_with(status, commit, Arc::new(move |job, previous| channels.announce(job, previous))).await
    }

    async fn job_with(&self, status: Status, commit: Option<&str>, announce: Announce) -> Job {
        let text = r#"{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,
            "dockerRepoBase":"quay.io/totem","tag":"HEAD"}"#;
        let context: JobContext = serde_json::from_str(text).unwrap();
        let new = NewJob::new(context, "quay.io/totem/acme-hello:HEAD".into());
        let Added::New(job) = self.store.add_job(new, None).await.unwrap() else { panic!() };
        let store = self.store.clone().with_announce(announce);
        store.claim("me", LIMIT).await.unwrap().unwrap();
        let resolved_commit = commit.map(|id| CommitId::parse(id).unwrap());
        let outcome = Outcome {
            status,
            stages: Stages::pending(),
            resolved_commit,
            digest: (status == Status::Success).then(|| "sha256:1".to_owned()),
            cause: None,
            class: None,
            superseded_by: None,
            tags: Vec::new(),
        };
        store.finish(job.id, 1, &outcome).await.unwrap()
    }

    async fn next(&mut self) -> (Method, HeaderMap, String) {
        timeout(LIMIT, self.got.recv()).await.unwrap().unwrap()
    }

    fn sender(&self) -> OutboxSender {
        OutboxSender { store: self.store.clone(), channels: self.channels(), metrics: Metrics::new().unwrap() }
    }

    /// Returns all rows of the outbox, the oldest first.
    async fn records(&self) -> Vec<NotificationRecord> {
        let mut records = self.store.notifications(&NotificationFilter::default(), 9999).await.unwrap();
        records.reverse();
        records
    }

    /// Waits until nothing is left to send, now or later.
    async fn settled(&self) {
        let wait = async {
            while !self.store.due_notifications(9).await.unwrap().is_empty()
                || self.store.next_notification().await.unwrap().is_some()
            {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LIMIT, wait).await.unwrap();
    }
}

#[tokio::test]
async fn a_failure_is_tried_again_with_the_same_id() {
    let mut bench = start(&[503], None).await;
    bench.job(Status::Success, None).await;
    let (_, first, body) = bench.next().await;
    let (_, second, again) = bench.next().await;
    assert!(!first.contains_key("x-hook-signature"));
    assert_eq!((&first["x-hook-id"], body), (&second["x-hook-id"], again));
    bench.settled().await;
}

#[tokio::test]
async fn a_refusal_is_final_and_a_redirect_is_not_followed() {
    let mut bench = start(&[404, 307], None).await;
    bench.job(Status::Success, None).await;
    bench.next().await;
    bench.settled().await;
    bench.job(Status::Success, None).await;
    bench.next().await;
    let waits = timeout(LIMIT, async {
        while bench.store.next_notification().await.unwrap().is_none() {
            sleep(Duration::from_millis(5)).await;
        }
    });
    waits.await.unwrap();
    assert!(bench.got.try_recv().is_err());
}

#[tokio::test]
async fn a_receiver_that_hangs_stops_no_other_and_gets_the_hook_after_a_restart() {
    let mut bench = start(&[0], None).await;
    bench.job(Status::Failure, None).await;
    let (_, hung, _) = bench.next().await;
    bench.job(Status::Success, None).await;
    bench.next().await;
    let others_done = async {
        while bench.store.due_notifications(9).await.unwrap().len() > 1 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LIMIT, others_done).await.unwrap();
    bench.shutdown.cancel();
    bench.spawn(CancellationToken::new());
    let (_, again, _) = bench.next().await;
    assert_eq!(again["x-hook-id"], hung["x-hook-id"]);
    bench.settled().await;
}

#[tokio::test]
async fn a_hook_without_a_destination_is_given_up_and_no_error_shows_a_url() {
    let mut bench = start(&[], None).await;
    bench.shutdown.cancel();
    let job = bench.job(Status::Success, None).await;
    assert!(Channels::default().announce(&job, None).is_empty());
    let mut due = bench.store.due_notifications(9).await.unwrap().remove(0);
    let channels = |url: Option<&str>| {
        let urls = url.map(str::to_owned).into_iter().collect();
        Channels::new(vec![Arc::new(PostBuild::new(PostBuildConfig { urls, ..PostBuildConfig::default() }).unwrap())])
    };
    for (url, permanent) in [(None, true), (Some("no url"), true), (Some("http://127.0.0.1:1/?token=s3cret"), false)] {
        due.destination = url.map_or("gone".into(), super::post_build::destination);
        let error = channels(url).send(&due, bench.store.now()).await.err().unwrap();
        assert_eq!(error.is_permanent, permanent, "{}", error.message);
        assert!(!error.message.contains("s3cret"), "{}", error.message);
    }
    let error = Channels::default().send(&due, bench.store.now()).await.err().unwrap();
    assert!(error.is_permanent && error.message.contains("post-build"), "{}", error.message);
    OutboxSender { channels: channels(None), ..bench.sender() }.deliver(&due).await;
    bench.settled().await;
    assert!(bench.got.try_recv().is_err());
}

#[test]
fn statuses_are_permanent_or_transient() {
    for (status, permanent) in
        [(400, true), (404, true), (408, false), (425, false), (429, false), (302, false), (500, false)]
    {
        assert_eq!(SendError::from_status(StatusCode::from_u16(status).unwrap()).is_permanent, permanent, "{status}");
    }
}
