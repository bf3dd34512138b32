use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::ApiState;
use super::auth::ApiCaller;
use super::error::ApiError;
use super::hooks::{DUPLICATE, SKIPPED};
use crate::metrics::{MetricKind, Scrape, WebhookResult};
use crate::model::{EngineCondition, EngineState, FailureClass, Millis, NotificationState, Status};
use crate::store::StoreStats;

/// Media type of Prometheus' text format.
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub async fn metrics(State(api): State<Arc<ApiState>>, _caller: ApiCaller) -> Result<Response, ApiError> {
    let stats = api.store.stats().await.inspect_err(|error| tracing::error!(%error, "no metrics of the store"));
    let folder = api.data_dir.clone();
    let disk = tokio::task::spawn_blocking(move || rustix::fs::statvfs(folder)).await;
    let mut page = Scrape::default();
    let disk = disk.ok().and_then(Result::ok);
    let text = fill(&api, &mut page, stats.ok(), disk).and_then(|()| api.metrics.text(&page));
    let text = text.map_err(|error| ApiError::Internal(format!("the metrics: {error}")))?;
    Ok(([(header::CONTENT_TYPE, TEXT)], text).into_response())
}

/// Counts a webhook by its answer.
pub async fn count_webhook(State(api): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    api.metrics.webhook(match response.status() {
        _ if response.headers().contains_key(DUPLICATE) => WebhookResult::Duplicate,
        _ if response.headers().contains_key(SKIPPED) => WebhookResult::Ignored,
        status if status.is_success() => WebhookResult::Accepted,
        status if status.is_client_error() || status == StatusCode::NOT_IMPLEMENTED => WebhookResult::Refused,
        _ => WebhookResult::Failed,
    });
    response
}

fn number(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Fills the page with what is looked up for it: the store, the engines, the secrets, the disk, the heartbeats.
fn fill(
    api: &ApiState,
    page: &mut Scrape,
    stats: Option<StoreStats>,
    disk: Option<rustix::fs::StatVfs>,
) -> prometheus::Result<()> {
    let info = ("image_factory_build_info", "The daemon's version, as a label of the value 1.");
    page.family(MetricKind::Gauge, info, ["version"], [([env!("CARGO_PKG_VERSION")], 1.0)])?;
    let readable = "1 if the store could be read for this page.";
    page.gauge("image_factory_store_readable", readable, number(stats.is_some()))?;
    if let Some(stats) = stats {
        of_store(page, &stats)?;
    }
    let (commits, took) = api.store.commits();
    let counted = ("image_factory_store_commits_total", "Transactions that the store has written.");
    page.family(MetricKind::Counter, counted, [], [([], commits as f64)])?;
    let timed = (
        "image_factory_store_commit_seconds_total",
        "Time that the transactions took in all, with the wait for the disk.",
    );
    page.family(MetricKind::Counter, timed, [], [([], took.as_secs_f64())])?;

    let up = ("image_factory_engine_up", "1 if the engine answered the last check.");
    let engines = (api.engines.states)();
    let gauge = |value: fn(&EngineState) -> f64| engines.iter().map(move |e| ([e.name.as_str()], value(e)));
    page.family(MetricKind::Gauge, up, ["engine"], gauge(|engine| number(engine.condition == EngineCondition::Well)))?;
    let cordoned = ("image_factory_engine_cordoned", "1 if an operator has the engine take no new jobs.");
    page.family(MetricKind::Gauge, cordoned, ["engine"], gauge(|engine| number(engine.cordon.is_some())))?;
    let slots = ("image_factory_engine_slots", "Jobs that the engine may have at once, or its share of CONCURRENCY.");
    page.family(MetricKind::Gauge, slots, ["engine"], gauge(|engine| engine.slots as f64))?;
    let kept = ("image_factory_kept_containers", "Containers of tests that GARBAGE_COLLECT=0 keeps on the engine.");
    page.family(MetricKind::Gauge, kept, ["engine"], gauge(|engine| engine.kept as f64))?;

    let secrets = api.secrets.borrow().clone();
    let loaded = "1 once the secrets were read since the start; no job runs before.";
    page.gauge("image_factory_secrets_loaded", loaded, number(secrets.loaded))?;
    let kinds = secrets.kinds();
    let valid = ("image_factory_secret_valid", "1 if every stored secret of this kind can be used.");
    page.family(MetricKind::Gauge, valid, ["kind"], kinds.iter().map(|(kind, (valid, _))| ([*kind], number(*valid))))?;
    let now = Millis::now();
    let ages = kinds.iter().filter_map(|(kind, (_, since))| Some(([*kind], now.since((*since)?).as_secs_f64())));
    let age = ("image_factory_secret_age_seconds", "Seconds since the oldest secret in use of this kind was read.");
    page.family(MetricKind::Gauge, age, ["kind"], ages)?;

    if let Some(disk) = disk {
        let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize) as f64;
        page.gauge(
            "image_factory_disk_free_bytes",
            "Free bytes for the daemon on the disk of the data folder.",
            bytes(disk.f_bavail),
        )?;
        page.gauge("image_factory_disk_size_bytes", "Size of the disk of the data folder.", bytes(disk.f_blocks))?;
        page.gauge(
            "image_factory_disk_free_inodes",
            "Free inodes for the daemon on the disk of the data folder.",
            disk.f_favail as f64,
        )?;
        page.gauge(
            "image_factory_disk_inodes",
            "Inodes of the disk of the data folder; 0 if the file system makes them as needed.",
            disk.f_files as f64,
        )?;
    }
    if let Some((waiting, held, all)) = api.queue.memory() {
        let budget = "Memory that the files of running jobs may take together, in bytes (MEMORY_BUDGET).";
        page.gauge("image_factory_memory_budget_bytes", budget, all as f64)?;
        page.gauge("image_factory_memory_held_bytes", "Memory that running jobs hold of that budget.", held as f64)?;
        page.gauge("image_factory_memory_waiting_jobs", "Running jobs that wait for memory.", waiting as f64)?;
    }
    if let Some((held, all)) = api.answers.usage() {
        let budget = "Memory that answers with jobs and readers of logs may take together, in bytes (MEMORY_BUDGET).";
        page.gauge("image_factory_answer_memory_budget_bytes", budget, all as f64)?;
        page.gauge("image_factory_answer_memory_held_bytes", "Memory that they hold of that budget.", held as f64)?;
    }
    let (connections, followers, places) = api.places.count();
    page.gauge("image_factory_http_connections", "Open connections.", connections as f64)?;
    page.gauge("image_factory_log_followers", "Connections that follow a log.", followers as f64)?;
    page.gauge("image_factory_http_places", "The most connections at once.", places as f64)?;
    let refused = (
        "image_factory_http_refusals_total",
        "Connections and requests without an ordinary place: all taken, or the address or the followers have their share.",
    );
    let refusals = api.places.refusals();
    let refusals = refusals.iter().map(|(reason, count)| ([*reason], *count as f64));
    page.family(MetricKind::Counter, refused, ["reason"], refusals)?;
    let heartbeats = api.metrics.heartbeats().map(|(name, heartbeat)| ([name], heartbeat.silent_for().as_secs_f64()));
    let silent = (
        "image_factory_heartbeat_age_seconds",
        "Seconds since the loop showed progress; a healthy loop shows it every 5 s.",
    );
    page.family(MetricKind::Gauge, silent, ["loop"], heartbeats)?;
    page.process()
}

fn of_store(page: &mut Scrape, stats: &StoreStats) -> prometheus::Result<()> {
    let now = Millis::now();
    let age = |since: Option<Millis>| since.map_or(0.0, |since| now.since(since).as_secs_f64());
    let depth = stats.depth;
    let rows = [(["pending"], depth.pending as f64), (["running"], depth.running as f64)];
    page.family(MetricKind::Gauge, ("image_factory_jobs", "Jobs that have not ended, by status."), ["status"], rows)?;
    let oldest = "Seconds that the oldest pending job has waited; 0 without one.";
    page.gauge("image_factory_oldest_pending_age_seconds", oldest, age(stats.oldest_pending))?;
    let running = stats.running.iter().map(|(engine, count)| ([engine.as_str()], *count as f64));
    page.family(MetricKind::Gauge, ("image_factory_builds_running", "Running jobs, by engine."), ["engine"], running)?;

    // Series that may come start at 0, because Prometheus sees the first step of a counter only if it was there before.
    let failures = FailureClass::ALL.map(|class| match class {
        FailureClass::Cancelled => (Status::Cancelled.as_str(), class.as_str()),
        _ => (Status::Failure.as_str(), class.as_str()),
    });
    let known = failures.into_iter().chain([(Status::Success.as_str(), "")]);
    let zeros = known.map(|(status, class)| ([status, class], 0.0));
    let ended = stats.ended.iter().map(|(status, class, jobs)| ([status.as_str(), class.as_str()], *jobs as f64));
    let help = "Ended jobs, by status and, if not a success, class of the failure.";
    let name = ("image_factory_jobs_ended_total", help);
    page.family(MetricKind::Counter, name, ["status", "class"], zeros.chain(ended))?;

    let counts = stats.outbox.iter().map(|row| ([row.channel.as_str(), row.state.as_str()], row.count as f64));
    let help = "Notifications that were not sent, by channel and state (due, dead).";
    page.family(MetricKind::Gauge, ("image_factory_outbox", help), ["channel", "state"], counts)?;
    let unsent = stats.outbox.iter().filter(|row| row.state == NotificationState::Due).map(|row| row.oldest).min();
    let help = "Seconds that the oldest due notification has waited; 0 without one.";
    page.gauge("image_factory_outbox_oldest_due_age_seconds", help, age(unsent))
}
