use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::SettingsFiles;
use crate::app::{self, Listener, Reloads};
use crate::model::ListenAddress;
use crate::settings::{Flags, LoadedSettings, LogFormat, Settings, SettingsSource};
use crate::telemetry::{self, SyslogHandle};

/// Time for the last log lines to be sent.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// Time to wait for a port that is in use.
const PORT_WAIT: Duration = Duration::from_secs(5);
/// Pause between two tries to listen.
const PORT_PAUSE: Duration = Duration::from_millis(20);

/// Run the daemon
#[derive(clap::Args)]
pub struct ServeArgs {
    /// Check the settings and exit
    #[arg(long)]
    pub check: bool,
    #[command(flatten)]
    pub flags: Flags,
}

/// Runs the subcommand.
pub async fn run(args: ServeArgs, files: SettingsFiles) -> anyhow::Result<ExitCode> {
    let source = files.source(args.flags);
    let mut loaded = source.load();
    loaded.check(app::check);
    loaded.warnings.extend(app::warnings(loaded.read()));
    if args.check || loaded.settings().is_err() {
        loaded.warnings.iter().for_each(|warning| eprintln!("{warning}"));
    }
    let settings = loaded.settings()?.clone();
    if args.check {
        app::login::faults(&settings).await.iter().for_each(|fault| eprintln!("nobody gets in by ssh: {fault}"));
        app::login::lacks(&settings).iter().for_each(|lack| eprintln!("{lack}"));
        println!("The settings are valid.");
        return Ok(ExitCode::SUCCESS);
    }
    let syslog = telemetry::init(&settings)?.map(Arc::new);
    loaded.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let is_json = settings.log_format == LogFormat::Json;
    let ended = serve(settings, source, loaded, syslog.clone()).await;
    if is_json && let Err(error) = &ended {
        tracing::error!("{error:#}");
    }
    if let Some(syslog) = syslog {
        syslog.flush(FLUSH_TIMEOUT).await;
    }
    match ended {
        Err(_) if is_json => Ok(ExitCode::FAILURE),
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

/// Runs the daemon until SIGTERM or SIGINT.
async fn serve(
    settings: Settings,
    source: SettingsSource,
    started_with: LoadedSettings,
    syslog: Option<Arc<SyslogHandle>>,
) -> anyhow::Result<()> {
    let listen = &settings.listen;
    let listener = bind(listen).await.map_err(|error| {
        let cure = match (listen, error.kind()) {
            (ListenAddress::Unix(_), _) => "make its folder writable, or set LISTEN",
            (_, io::ErrorKind::AddrNotAvailable) => "set LISTEN to an address of this machine",
            (_, io::ErrorKind::PermissionDenied) => "set LISTEN to a port from 1024 on, or start it as root",
            _ => "stop the program that uses it, or set LISTEN",
        };
        anyhow::Error::new(error).context(format!("cannot listen on {listen}: {cure}"))
    })?;
    let shutdown = CancellationToken::new();
    let reloads = Reloads { source, started_with, requests: hangups(shutdown.clone())? };
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = shutdown.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    app::run(settings, listener, reloads, syslog, shutdown).await
}

/// Returns a receiver of one message for each SIGHUP. A SIGHUP of the daemon's own terminal, which was closed, stops the
/// daemon.
fn hangups(shutdown: CancellationToken) -> io::Result<mpsc::Receiver<()>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let had_terminal = io::stderr().is_terminal();
    let (sender, requests) = mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if had_terminal && !io::stderr().is_terminal() {
                return shutdown.cancel();
            }
            // A request that waits already will read what is there now.
            let _ = sender.try_send(());
        }
    });
    Ok(requests)
}

/// Listens on the address, and waits up to [`PORT_WAIT`] while the port is in use. A killed daemon's port stays in use until a
/// process that it had just forked has become Git, because a fork holds its parent's sockets until it execs: some
/// milliseconds, on a busy machine 300 and more.
async fn bind(listen: &ListenAddress) -> io::Result<Listener> {
    let end = Instant::now() + PORT_WAIT;
    let mut warned = false;
    loop {
        match Listener::bind(listen).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                if !warned {
                    tracing::warn!("{listen} is in use: waiting for it, {} s at most", PORT_WAIT.as_secs());
                    warned = true;
                }
                tokio::time::sleep(PORT_PAUSE).await;
            }
            result => return result,
        }
    }
}
