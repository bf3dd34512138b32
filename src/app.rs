//! The composition root: builds the parts from the settings, watches over them, and drains on shutdown.

mod admin_token;
mod channels;
pub mod doctor;
mod forget;
mod images;
mod ledger;
mod missed;
mod readiness;
mod startup;
mod systemd;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::engine::{Pool, PoolConfig};
use crate::git::{self, Git, GitToken, Upkeep};
use crate::http::{self, HttpConfig};
use crate::intake::{AllowedRepos, Intake, Policy};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::model::{ApiToken, Role};
use crate::notify;
use crate::pipeline::{self, PipelineConfig, Tags, Tools};
use crate::queue::{Queue, QueueConfig};
use crate::secrets::{self, Secrets};
use crate::settings::{ApiAuth, Settings};
use crate::store::Store;
use crate::telemetry::{self, SyslogHandle, notify_systemd};
pub use admin_token::path as admin_token_path;
use ledger::Ledger;
use missed::Missed;
use readiness::Readiness;
pub use startup::secrets_config;
use systemd::Watchdog;

/// How long a claim lasts unless it is renewed.
const LEASE: Duration = Duration::from_secs(60);

/// Runs the daemon on `listener` until `shutdown` is cancelled and the running jobs are drained. `syslog` learns from the
/// secrets where it is to send.
///
/// # Errors
/// A part that cannot start: a folder that cannot be used, another daemon on it, an engine address that is not valid.
pub async fn run(
    settings: Settings,
    listener: TcpListener,
    syslog: Option<Arc<SyslogHandle>>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let metrics = Metrics::new()?;
    let data_dir = settings.data_dir();
    let store = Store::open(&data_dir).await?.with_repo_concurrency(settings.repo_concurrency);
    let store = store.with_repo_case(startup::repo_case(&settings)).await?;
    let run_dir = startup::fresh_run_dir(&data_dir)?;
    let known_hosts = startup::known_hosts(&settings, &run_dir)?;
    let logs_dir = data_dir.join("logs");
    let logs = Logs::open(logs_dir.clone()).with_context(|| format!("cannot use {}", logs_dir.display()))?;
    let tokens = tokens(&settings)?;
    let engines = startup::engines(&settings)?;
    let instance = startup::instance(&data_dir)?;
    let secrets = secrets::start(secrets_config(&settings), shutdown.clone());
    if let Some(syslog) = syslog {
        tokio::spawn(follow_syslog_host(syslog, secrets.clone()));
    }
    startup::say(&settings, &listener.local_addr()?);
    channels::log_summary(&settings);

    let channels = channels::channels(&settings, logs.clone())?;
    let announcing = channels.clone();
    let store = store.with_announce(Arc::new(move |job, previous| announcing.announce(job, previous)));
    let queue_config = QueueConfig {
        concurrency: settings.concurrency as usize,
        // One data folder has one daemon: the lock sees to it. So what this name holds at startup is ours of before.
        node: "local".into(),
        lease: LEASE,
        drain: settings.drain_timeout,
        rules: startup::rules(&settings)?,
        heart: metrics.queue.clone(),
    };
    let (queue, queue_handle) = Queue::new(store.clone(), logs.clone(), queue_config);

    let floor = startup::floor(&settings);
    let budget = settings.engine_budget.0;
    let pool_config = PoolConfig { instance, concurrency: settings.concurrency as usize, floor, budget };
    let engines = Pool::start(engines, pool_config, &shutdown);
    let room = readiness::watch_room(data_dir.clone(), floor, &shutdown);
    let seen = engines.watch();
    let engines_up = Arc::new(move || seen.borrow().each.clone());
    let Readiness { ready, degraded } = readiness::watch(secrets.clone(), engines.watch(), room.clone());
    let masks = masks(&settings, &tokens);
    let git = Git::new(startup::git_config(&settings, data_dir.join("repos"), run_dir.clone(), known_hosts))?;
    git.number_fetches_after(store.newest_fetch().await?);
    let tools = Tools {
        git,
        engines,
        secrets: secrets.clone(),
        tags: Tags::new(Ledger(store.clone())),
        users: Box::new(store.clone()),
        config: pipeline_config(&settings, masks.clone()),
        metrics: metrics.clone(),
    };
    let allowed_repos = AllowedRepos::new(&settings.allow_repos.0, startup::repo_case(&settings))?;
    let policy = Policy::new(allowed_repos, startup::destinations(&settings), masks, secrets.clone());
    let intake = Intake::new(policy, store.clone(), queue_handle.clone());
    let http_config = HttpConfig {
        hook_secret: settings.hook_secret.clone(),
        tokens,
        open: settings.api_auth == ApiAuth::None,
        cors_origins: settings.cors_origins.0.clone(),
        hosts: startup::hosts(&settings, &listener.local_addr()?),
        host_of: {
            let channels = channels.clone();
            Arc::new(move |channel: &str, destination: &str| channels.host(channel, destination))
        },
        engines_up,
        data_dir,
    };
    let watchdog = Watchdog {
        store: store.clone(),
        metrics: metrics.clone(),
        degraded: degraded.clone(),
        shutdown: shutdown.clone(),
    };
    let parts = http::Parts {
        store: store.clone(),
        logs,
        queue: queue_handle,
        intake: intake.clone(),
        secrets,
        degraded,
        metrics: metrics.clone(),
    };
    let router = http::router(http_config, parts);

    let outbox_stop = CancellationToken::new();
    let outbox = tokio::spawn(notify::run(store.clone(), channels, metrics.clone(), outbox_stop.clone()));
    let http_stop = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, router, metrics.http, http_stop.clone()));
    notify_systemd(&[NotifyState::Ready]);
    let _watchdog = AbortOnDropHandle::new(tokio::spawn(watchdog.run()));

    let tools = Arc::new(tools);
    let (housed, budget) = (tools.clone(), settings.mirror_budget.0);
    let upkeep = async move { Upkeep::new(&housed.git, budget).run(room.missing).await };
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(upkeep));
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(forget::run(store.clone())));
    if settings.sweep_missed.0 {
        let missed = Missed::new(tools.clone(), store.clone(), intake);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(missed.run()));
    }
    let runner = move |run| {
        let tools = tools.clone();
        async move { pipeline::run(&tools, run).await }
    };
    let farewell = async {
        shutdown.cancelled().await;
        let drain = settings.drain_timeout.as_secs();
        tracing::info!("stopping: running jobs have {drain} s, what is left goes back to pending");
        notify_systemd(&[NotifyState::Stopping]);
    };
    tokio::join!(queue.run(ready, shutdown.clone(), runner), farewell);

    http_stop.cancel();
    outbox_stop.cancel();
    server.await?;
    outbox.await?;
    store.close().await;
    // Sockets of connections that are held open for the next fetch. What cannot be removed, the next start removes.
    let _ = std::fs::remove_dir_all(run_dir);
    Ok(())
}

/// Sends log lines where `syslog/host` says, as soon as the secrets were read once.
async fn follow_syslog_host(syslog: Arc<SyslogHandle>, mut secrets: watch::Receiver<Arc<Secrets>>) {
    loop {
        {
            let secrets = secrets.borrow_and_update();
            if secrets.loaded {
                syslog.follow(secrets.syslog_host());
            }
        }
        if secrets.changed().await.is_err() {
            return; // the daemon stops
        }
    }
}

/// The configured tokens and the one that is made at the first start.
fn tokens(settings: &Settings) -> anyhow::Result<Vec<ApiToken>> {
    let mut tokens = settings.api_tokens.clone();
    let token = admin_token::read_or_create(&settings.data_dir())?;
    tokens.push(ApiToken { name: "admin-token".into(), role: Role::Admin, token });
    Ok(tokens)
}

/// The daemon's own secrets, beside those in etcd or the folder: no log may show them.
fn masks(settings: &Settings, tokens: &[ApiToken]) -> Vec<Zeroizing<String>> {
    let mut masks = settings.secrets();
    masks.extend(tokens.iter().map(|token| token.token.clone()));
    masks.extend(startup::git_token(settings).iter().flat_map(GitToken::masks));
    // An address may have a token in it.
    for url in &settings.hook_post_url.0 {
        masks.extend(url.0.password().map(|password| password.to_owned().into()));
        masks.extend(url.0.query_pairs().map(|(_, value)| value.into_owned().into()));
    }
    masks
}

fn pipeline_config(settings: &Settings, masks: Vec<Zeroizing<String>>) -> PipelineConfig {
    PipelineConfig {
        git_url: settings.git_url.as_ref().map(|url| url.0.clone()),
        dockerfile: settings.dockerfile.clone(),
        context: settings.context.clone(),
        keep_git_dir: settings.keep_git_dir.0,
        image_tags: settings.image_tags.clone(),
        clone_timeout: settings.clone_timeout,
        checkout_timeout: settings.checkout_timeout,
        build_timeout: settings.build_timeout,
        push_timeout: settings.push_timeout,
        push_retries: settings.push_retries,
        push_retry_wait: settings.push_retry_wait,
        stall_timeout: settings.stall_timeout,
        job_timeout: settings.job_timeout,
        masks,
    }
}

/// Checks what the settings' own types cannot.
///
/// # Errors
/// The name of the setting, its value and what is allowed.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    startup::engines(settings)?;
    startup::rules(settings)?;
    telemetry::check(settings)?;
    secrets_config(settings).check()?;
    channels::check(settings)?;
    if let Some(path) = &settings.known_hosts {
        std::fs::metadata(path).with_context(|| format!("KNOWN_HOSTS={path:?} cannot be read"))?;
    }
    if let Some(path) = &settings.git_cacert {
        git::read_authorities(path)?;
    }
    startup::github(settings)?;
    Ok(())
}
