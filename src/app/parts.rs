use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sd_notify::NotifyState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::assemble::memory::{MemoryParts, memory};
use super::assemble::{access, engine, git, notify as channels, pipeline as pipeline_settings, queue, secrets};
use super::branch_heads;
use super::images::StoredUsers;
use super::ledger::Ledger;
use super::missed::Missed;
use super::own_socket;
use super::readiness::{self, DiskSpace, Readiness};
use super::reload::{LiveParts, Reloads};
use super::retention::Retention;
use super::systemd::Watchdog;
use super::{certificate, data_dir};
use crate::engine::{Host, Pool, PoolConfig};
use crate::git::{Git, Upkeep};
use crate::http::{self, HttpConfig, Listener, Places, ServerCertificate, Serving, TrustedProxies};
use crate::intake::Intake;
use crate::logs::Masks;
use crate::metrics::{Heartbeat, Metrics};
use crate::notify::{self, Channels};
use crate::pipeline::{self, Isolation, Pauses, SecretGate, Tags, Tools};
use crate::queue::{Queue, QueueConfig, Waits};
use crate::registry::Registries;
use crate::secrets::Secrets;
use crate::settings::{ApiAuth, Settings, SshdChoice, TotemList};
use crate::store::Store;
use crate::telemetry::notify_systemd;

/// Time between two heartbeats in a log that Conveyor's API follows, as Conveyor had it: proxies close connections that are
/// silent for 60 s.
const LOG_HEARTBEAT: Duration = Duration::from_secs(25);

/// The parts of the daemon, made of the settings. The secrets, the engines and the disk are watched already; nothing else
/// runs.
pub struct DaemonParts {
    store: Store,
    secrets: watch::Receiver<Arc<Secrets>>,
    channels: Channels,
    queue: Queue,
    tools: Arc<Tools>,
    intake: Intake,
    router: Router,
    /// The listener for the command line of this machine.
    own_listener: Option<Listener>,
    /// The socket of the sessions of ssh, and the routes with their right.
    ssh: Option<(Listener, Router)>,
    certificate: Option<Arc<ServerCertificate>>,
    places: Arc<Places>,
    http_stop: CancellationToken,
    live: LiveParts,
    retention: Retention,
    watchdog: Watchdog,
    metrics: Metrics,
    /// True while jobs can be claimed.
    ready: watch::Receiver<bool>,
    disk_space: DiskSpace,
    run_dir: PathBuf,
    mirror_budget: u64,
    sweep_missed: bool,
    shutdown: CancellationToken,
}

impl DaemonParts {
    /// Makes the parts. The daemon may open this many files.
    ///
    /// # Errors
    /// A part cannot start: a folder cannot be used, another daemon uses it, or the address of an engine is not valid.
    pub async fn assemble(settings: &Settings, files: u64, shutdown: CancellationToken) -> anyhow::Result<Self> {
        // No program may have been started before, because its group would be the daemon's old one.
        let git_group = git::group(settings);
        let (data_dir, metrics, repo_case) = (settings.data_dir(), Metrics::new()?, git::repo_case(settings));
        let store = Store::open(&data_dir).await?.with_repo_concurrency(settings.repo_concurrency);
        let store = store.with_repo_case(repo_case).await?;
        git::warn_of_spellings(settings, &store).await?;
        let run_dir = data_dir::fresh_run_dir(&data_dir)?;
        let known_hosts = git::known_hosts(settings, &run_dir)?;
        let ssh_token = (settings.sshd == SshdChoice::Auto).then(own_socket::ssh_token).transpose()?;
        let tokens = access::tokens(settings, ssh_token.as_ref())?;
        let admin_token = tokens.last().map(|admin| admin.token.clone());
        let masks = Masks::new(Arc::new(access::masks(settings)));
        let refused = Masks::new(Arc::new(access::refused(settings, &tokens)));
        let MemoryParts { trees, bodies, logs: log_memory } = memory(settings)?;
        let answer_memory = log_memory.readers.clone();
        let logs = data_dir::logs(&data_dir)?.masked_by(masks.clone());
        let logs = logs.limited_to(settings.log_limit.0).within(log_memory);
        let floor = engine::floor(settings);
        let pool_config = PoolConfig {
            instance: data_dir::instance(&data_dir)?,
            concurrency: engine::concurrency(settings)?,
            cordons: store.cordons().await?,
            floor,
            budget: settings.engine_budget.0,
            keep: engine::keep(settings),
        };
        let secrets = crate::secrets::start(secrets::config(settings), shutdown.clone());
        let ssh = engine::ssh_access(settings, &run_dir, &known_hosts, secrets.clone())?;

        let channels = channels::channels(settings, logs.clone())?;
        let announcing = channels.clone();
        let store = store.with_announce(Arc::new(move |job, previous| announcing.announce(job, previous)));
        let registries = Arc::new(Registries::new(settings.token_servers_allowed.clone()));
        let engines = engine::engines(settings, ssh, &registries)?;
        let first = engines.first().map(|engine| engine.host()).filter(|host| !matches!(host, Host::Unix(_)));
        if let (Some(_), Some(first)) = (&ssh_token, first) {
            own_socket::serve_engine_for_ssh(&data_dir, first.clone(), shutdown.clone())?;
        }
        let engines = Pool::start(engines, pool_config, &shutdown);
        let disk_space = readiness::watch_disk(data_dir.clone(), floor, &shutdown);
        let engine_handle = engine::handle(&engines);
        let programs = readiness::watch_programs(&shutdown);
        let certificate = certificate::read(settings)?.map(Arc::new);
        let certificate_trouble = certificate::watch(certificate.clone(), &shutdown);
        let places = Arc::new(Places::new(files, TrustedProxies::new(&settings.trusted_proxies.0)));
        let http_stop = CancellationToken::new();
        let jobs = readiness::watch_jobs(store.clone(), &shutdown);
        let Readiness { ready, blocked, slots, degraded } =
            readiness::watch(secrets.clone(), engines.watch(), disk_space.clone(), programs, jobs, certificate_trouble);
        let pipeline_config = pipeline_settings::config(settings, refused.clone());
        let gate = SecretGate::new(secrets.clone(), pipeline_config.git_url.clone(), pipeline_config.tarballs);
        let (longest, memory, pauses) = (settings.secret_wait, trees.clone(), Pauses::default());
        let waits = Waits { blocked, slots, gate, longest, memory, pauses: pauses.clone() };
        let queue_config = QueueConfig { waits, ..queue::config(settings, &metrics)? };
        let (queue, queue_handle) = Queue::new(store.clone(), logs.clone(), queue_config);
        let mut git_config = git::config(settings, data_dir.join("repos"), run_dir.clone(), known_hosts);
        git_config.bounds.group = git_group;
        let git = Git::new(git_config)?;
        git.number_fetches_after(store.newest_fetch().await?);
        let tools = Arc::new(Tools {
            git,
            engines,
            registries,
            secrets: secrets.clone(),
            tags: Tags::new(Ledger(store.clone())),
            users: Box::new(StoredUsers(store.clone())),
            config: pipeline_config,
            isolation: Isolation::default(),
            memory: trees,
            pauses,
            metrics: metrics.clone(),
        });

        let policy = access::policy(settings, refused.borrow().to_vec(), secrets.clone())?;
        let intake = Intake::new(policy, store.clone(), queue_handle.clone(), metrics.clone());
        let watchdog = Watchdog {
            store: store.clone(),
            metrics: metrics.clone(),
            degraded: degraded.clone(),
            shutdown: shutdown.clone(),
        };
        let host_of = {
            let channels = channels.clone();
            Arc::new(move |channel: &str, destination: &str| channels.host(channel, destination))
        };
        let http_config = HttpConfig {
            hook_secret: settings.hook_secret.clone(),
            ci_token: settings.ci_token().cloned(),
            default_repo: settings.github_repo.clone(),
            tokens,
            dialects: settings.dialects.clone(),
            basic_auth: settings.basic_auth.clone(),
            open_logs: settings.conveyor_open_logs.0,
            log_heartbeat: LOG_HEARTBEAT,
            branch_head: branch_heads::handle(tools.clone()),
            open: settings.api_auth == ApiAuth::None,
            cors_origins: settings.cors_origins.0.clone(),
            hosts: access::hosts(settings),
            list_oldest: settings.totem_list == TotemList::Oldest,
            host_of,
            engines: engine_handle,
            data_dir,
            body_memory: bodies,
            answer_memory,
        };
        let http_parts = http::Parts {
            store: store.clone(),
            logs: logs.clone(),
            queue: queue_handle.clone(),
            intake: intake.clone(),
            secrets: secrets.clone(),
            degraded,
            metrics: metrics.clone(),
            places: places.clone(),
            closing: http_stop.clone(),
        };
        let (router, credentials) = http::router(http_config, http_parts);
        let own_listener = own_socket::listen(&settings.data_dir(), &settings.listen).await;
        let ssh = match &ssh_token {
            Some(ssh) => {
                let listener = own_socket::listen_for_ssh(&settings.data_dir()).await?;
                Some((listener, http::with_token(router.clone(), &ssh.token)?))
            }
            None => None,
        };
        let retention = Retention {
            store: store.clone(),
            logs: logs.clone(),
            metrics: metrics.clone(),
            jobs: settings.job_keep,
            log_keep: settings.log_keep,
        };
        let live = LiveParts {
            settings: settings.clone(),
            admin_token,
            ssh_token,
            masks,
            refused,
            logs,
            secrets: secrets.clone(),
            tools: tools.clone(),
            queue: queue_handle,
            intake: intake.clone(),
            channels: channels.clone(),
            credentials,
            certificate: certificate.clone(),
        };
        Ok(Self {
            store,
            secrets,
            channels,
            queue,
            tools,
            intake,
            router,
            own_listener,
            ssh,
            certificate,
            places,
            http_stop,
            live,
            retention,
            watchdog,
            metrics,
            ready,
            disk_space,
            run_dir,
            mirror_budget: settings.mirror_budget.0,
            sweep_missed: settings.sweep_missed.0,
            shutdown,
        })
    }

    pub fn secrets(&self) -> watch::Receiver<Arc<Secrets>> {
        self.secrets.clone()
    }

    /// Serves until the shutdown, and until the running jobs are drained. HTTP and the outbox go on while they drain.
    pub async fn serve(self, listener: Listener, reloads: Reloads) -> anyhow::Result<()> {
        let Self { store, tools, shutdown, metrics, .. } = self;
        let outbox_stop = CancellationToken::new();
        let outbox = notify::run(store.clone(), self.channels, metrics.clone(), outbox_stop.clone());
        let outbox = tokio::spawn(outbox);
        let own = self.own_listener.map(|listener| (listener, self.router.clone()));
        let own_servers: Vec<_> = own
            .into_iter()
            .chain(self.ssh)
            .map(|(listener, router)| {
                let serving = Serving { listener, certificate: None, places: self.places.clone() };
                tokio::spawn(http::serve(serving, router, Heartbeat::default(), self.http_stop.clone()))
            })
            .collect();
        let serving = Serving { listener, certificate: self.certificate, places: self.places };
        let server = tokio::spawn(http::serve(serving, self.router, metrics.http, self.http_stop.clone()));
        notify_systemd(&[NotifyState::Ready]);
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(reloads.run(self.live)));
        let _watchdog = AbortOnDropHandle::new(tokio::spawn(self.watchdog.run()));

        let (upkeep_tools, budget, missing) = (tools.clone(), self.mirror_budget, self.disk_space.missing);
        let upkeep = async move { Upkeep::new(&upkeep_tools.git, budget).run(missing).await };
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(upkeep));
        tokio::spawn(shutdown.clone().run_until_cancelled_owned(self.retention.run()));
        if self.sweep_missed {
            let missed = Missed::new(tools.clone(), store.clone(), self.intake);
            tokio::spawn(shutdown.clone().run_until_cancelled_owned(missed.run()));
        }
        let runner = move |run| {
            let tools = tools.clone();
            async move { pipeline::run(&tools, run).await }
        };
        tokio::join!(self.queue.run(self.ready, shutdown.clone(), runner), announce_stop(&shutdown));

        self.http_stop.cancel();
        outbox_stop.cancel();
        server.await??;
        for own_server in own_servers {
            own_server.await??;
        }
        outbox.await?;
        store.close().await;
        // The folder has the sockets of connections that are kept for the next fetch. The next start removes the rest.
        let _ = std::fs::remove_dir_all(self.run_dir);
        Ok(())
    }
}

/// Waits for the shutdown, and reports it to systemd.
async fn announce_stop(shutdown: &CancellationToken) {
    shutdown.cancelled().await;
    notify_systemd(&[NotifyState::Stopping]);
}
