//! The composition root: builds the parts from the settings, watches over them, and drains on shutdown.

mod admin_token;
pub mod doctor;
mod startup;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::engine::Engine;
use crate::git::{self, Git, Token, Upkeep};
use crate::http::{self, HttpConfig};
use crate::logs::Logs;
use crate::model::{ApiToken, Job, Role, Status};
use crate::notify::{self, NotifyConfig};
use crate::pipeline::{self, PipelineConfig, Tools};
use crate::queue::{Queue, QueueConfig};
use crate::secrets::{self, Secrets};
use crate::settings::{ApiAuth, Settings};
use crate::store::Store;
use crate::telemetry::tell_systemd;
pub use admin_token::path as admin_token_path;
pub use startup::secrets_config;

/// How long a claim lasts unless it is renewed.
const LEASE: Duration = Duration::from_secs(60);
/// How often the engine is asked whether it is there.
const ENGINE_CHECK: Duration = Duration::from_secs(5);

/// Runs the daemon on `listener` until `shutdown` is cancelled and the running jobs are drained.
///
/// # Errors
/// A part that cannot start: a folder that cannot be used, another daemon on it, an engine address that is not valid.
pub async fn run(settings: Settings, listener: TcpListener, shutdown: CancellationToken) -> anyhow::Result<()> {
    let data_dir = settings.data_dir();
    let store = Store::open(&data_dir).await?;
    let run_dir = startup::fresh_run_dir(&data_dir)?;
    let known_hosts = startup::known_hosts(&settings, &run_dir)?;
    let logs_dir = data_dir.join("logs");
    let logs = Logs::open(logs_dir.clone()).with_context(|| format!("cannot use {}", logs_dir.display()))?;
    let tokens = tokens(&settings)?;
    let engine = Arc::new(startup::engine(&settings)?);
    let secrets = secrets::start(secrets_config(&settings), shutdown.clone());
    startup::say(&settings, &listener.local_addr()?);

    let notify_config = NotifyConfig {
        post_build: settings.hook_post_url.0.iter().map(|url| url.0.to_string()).collect(),
        hook_secret: settings.hook_secret.clone(),
    };
    let config = notify_config.clone();
    let announce = Arc::new(move |job: &Job, previous: Option<Status>| config.announce(job, previous));
    let queue_config = QueueConfig {
        concurrency: settings.concurrency as usize,
        // One data folder has one daemon: the lock sees to it. So what this name holds at startup is ours of before.
        node: "local".into(),
        lease: LEASE,
        drain: settings.drain_timeout,
    };
    let (queue, queue_handle) = Queue::new(store.clone(), logs.clone(), queue_config, announce);

    let engine_trouble = watch_engine(engine.clone(), shutdown.clone());
    let ready = watch_ready(secrets.clone(), engine_trouble.clone());
    let masks = masks(&settings, &tokens);
    let tools = Tools {
        git: Git::new(startup::git_config(&settings, data_dir.join("repos"), run_dir.clone(), known_hosts))?,
        engine,
        secrets: secrets.clone(),
        config: pipeline_config(&settings, masks.clone()),
    };
    let http_config = HttpConfig {
        docker_repo_base: settings.docker_repo_base.clone(),
        image_name: settings.image_name.clone(),
        hook_secret: settings.hook_secret.clone(),
        tokens,
        open: settings.api_auth == ApiAuth::None,
        allow_repos: settings.allow_repos.0.clone(),
        cors_origins: settings.cors_origins.0.clone(),
        hosts: startup::hosts(&settings, &listener.local_addr()?),
        masks,
    };
    let router = http::router(http_config, store.clone(), logs, queue_handle, secrets, engine_trouble)?;

    let outbox_stop = CancellationToken::new();
    let outbox = tokio::spawn(notify::run(store.clone(), notify_config, outbox_stop.clone()));
    let http_stop = CancellationToken::new();
    let server = tokio::spawn(http::serve(listener, router, http_stop.clone()));
    tell_systemd(&[NotifyState::Ready]);

    let tools = Arc::new(tools);
    let (housed, budget) = (tools.clone(), settings.mirror_budget.0);
    let upkeep = async move { Upkeep::new(&housed.git, budget).run().await };
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(upkeep));
    let runner = move |run| {
        let tools = tools.clone();
        async move { pipeline::run(&tools, run).await }
    };
    let farewell = async {
        shutdown.cancelled().await;
        let drain = settings.drain_timeout.as_secs();
        tracing::info!("stopping: running jobs have {drain} s, what is left goes back to pending");
        tell_systemd(&[NotifyState::Stopping]);
    };
    tokio::join!(queue.run(ready, shutdown.clone(), runner), farewell);

    http_stop.cancel();
    outbox_stop.cancel();
    server.await?;
    outbox.await??;
    store.close().await;
    // Sockets of connections that are held open for the next fetch. What cannot be removed, the next start removes.
    let _ = std::fs::remove_dir_all(run_dir);
    Ok(())
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
    masks.extend(startup::git_token(settings).iter().flat_map(Token::masks));
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
        image_tags: settings.image_tags.clone(),
        clone_timeout: settings.clone_timeout,
        checkout_timeout: settings.checkout_timeout,
        build_timeout: settings.build_timeout,
        push_timeout: settings.push_timeout,
        push_retries: settings.push_retries,
        push_retry_wait: settings.push_retry_wait,
        masks,
    }
}

/// What is wrong with the engine, if anything, asked again and again.
fn watch_engine(engine: Arc<Engine>, shutdown: CancellationToken) -> watch::Receiver<Option<String>> {
    let (sender, receiver) = watch::channel(Some("the Docker Engine was not asked yet".to_owned()));
    tokio::spawn(shutdown.run_until_cancelled_owned(async move {
        loop {
            let checked = engine.check().await;
            let trouble = checked.as_ref().err().map(|e| e.message.clone());
            sender.send_if_modified(|current| {
                let changed = *current != trouble;
                if changed {
                    match &checked {
                        Err(trouble) => tracing::warn!("engine: {trouble}; jobs wait"),
                        Ok(builder) => tracing::info!("engine: ready, builds by {builder}"),
                    }
                    *current = trouble;
                }
                changed
            });
            tokio::time::sleep(ENGINE_CHECK).await;
        }
    }));
    receiver
}

/// Whether jobs can be claimed: the secrets were read once, and the engine answers.
fn watch_ready(
    mut secrets: watch::Receiver<Arc<Secrets>>,
    mut engine_trouble: watch::Receiver<Option<String>>,
) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            let ready = secrets.borrow_and_update().loaded && engine_trouble.borrow_and_update().is_none();
            sender.send_if_modified(|current| std::mem::replace(current, ready) != ready);
            let changed = tokio::select! {
                changed = secrets.changed() => changed,
                changed = engine_trouble.changed() => changed,
            };
            if changed.is_err() {
                return; // the daemon stops
            }
        }
    });
    receiver
}

/// Checks what the settings' own types cannot.
///
/// # Errors
/// The name of the setting, its value and what is allowed.
pub fn check(settings: &Settings) -> anyhow::Result<()> {
    startup::engine(settings)?;
    crate::telemetry::filter(settings)?;
    secrets_config(settings).check()?;
    if let Some(path) = &settings.known_hosts {
        std::fs::metadata(path).with_context(|| format!("KNOWN_HOSTS={path:?} cannot be read"))?;
    }
    if let Some(path) = &settings.git_cacert {
        git::read_authorities(path)?;
    }
    Ok(())
}
