mod outbox;
mod post_build;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::IntoResponse;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::lanes::Lanes;
use super::*;
use crate::model::{CommitId, JobContext, Millis, NewJob, Outcome, Stages, Status};
use crate::store::{Added, Announce, NotificationFilter, NotificationRecord};

const LIMIT: Duration = Duration::from_secs(20);

/// Answers with these, then with 200; to 0 it answers nothing.
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
    config: NotifyConfig,
    shutdown: CancellationToken,
    /// How far its clock is ahead, in seconds.
    ahead: Arc<AtomicU64>,
    got: mpsc::UnboundedReceiver<(Method, HeaderMap, String)>,
}

async fn start(answers: &[u16], secret: Option<&str>) -> Bench {
    let bench = stopped(answers, secret).await;
    tokio::spawn(run(bench.store.clone(), bench.config.clone(), Metrics::new().unwrap(), bench.shutdown.clone()));
    bench
}

/// One that sends nothing by itself.
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
    let hook_secret = secret.map(|s| Zeroizing::new(s.to_owned()));
    let config = NotifyConfig { post_build: vec![url], hook_secret, ..NotifyConfig::default() };
    Bench { _dir: dir, store, config, shutdown: CancellationToken::new(), ahead, got }
}

impl Bench {
    /// A job that ended so.
    async fn job(&self, status: Status, commit: Option<&str>) -> Job {
        let config = self.config.clone();
        self.job_with(status, commit, Arc::new(move |job, previous| config.announce(job, previous))).await
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
            digest: None,
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

    fn sender(&self) -> Sender {
        Sender {
            store: self.store.clone(),
            config: self.config.clone(),
            client: Client::new(),
            outward: Client::new(),
            metrics: Metrics::new().unwrap(),
        }
    }

    /// What became of all that was to be sent, the oldest first.
    async fn letters(&self) -> Vec<NotificationRecord> {
        let mut letters = self.store.notifications(&NotificationFilter::default(), 9999).await.unwrap();
        letters.reverse();
        letters
    }

    /// Nothing is left to send, now or later.
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
async fn one_that_hangs_does_not_stop_the_others_and_is_sent_after_a_restart() {
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
    tokio::spawn(run(bench.store.clone(), bench.config.clone(), Metrics::new().unwrap(), CancellationToken::new()));
    let (_, again, _) = bench.next().await;
    assert_eq!(again["x-hook-id"], hung["x-hook-id"]);
    bench.settled().await;
}

#[tokio::test]
async fn what_has_no_destination_is_given_up_and_no_error_shows_a_url() {
    let mut bench = start(&[], None).await;
    bench.shutdown.cancel();
    let job = bench.job(Status::Success, None).await;
    assert!(NotifyConfig::default().announce(&job, None).is_empty());
    let mut due = bench.store.due_notifications(9).await.unwrap().remove(0);
    let sender = |url: Option<&str>| Sender {
        metrics: Metrics::new().unwrap(),
        store: bench.store.clone(),
        config: NotifyConfig { post_build: url.map(str::to_owned).into_iter().collect(), ..NotifyConfig::default() },
        client: Client::new(),
        outward: Client::new(),
    };
    for (url, permanent) in [(None, true), (Some("no url"), true), (Some("http://127.0.0.1:1/?token=s3cret"), false)] {
        due.destination = url.map_or("gone".into(), super::post_build::destination);
        let failure = sender(url).send(&due).await.err().unwrap();
        assert_eq!(failure.permanent, permanent, "{}", failure.error);
        assert!(!failure.error.contains("s3cret"), "{}", failure.error);
    }
    sender(None).deliver(&due).await;
    bench.settled().await;
    assert!(bench.got.try_recv().is_err());
}

#[test]
fn answers_and_pauses() {
    for (status, permanent) in
        [(400, true), (404, true), (408, false), (425, false), (429, false), (302, false), (500, false)]
    {
        assert_eq!(Failure::answered(StatusCode::from_u16(status).unwrap()).permanent, permanent, "{status}");
    }
}
