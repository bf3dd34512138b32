use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::SettingsFiles;
use crate::app::login;
use crate::settings::{Flags, SshdChoice};
use crate::telemetry;

/// Let the holders of the stored authorized keys log in by ssh
#[derive(Debug, clap::Args)]
pub struct SshdArgs {
    /// Folder of the sockets and of the OpenSSH configuration, in a folder that only root can write to
    #[arg(long, value_name = "DIR", default_value = "/run/image-factory-ssh")]
    run_dir: PathBuf,
    /// The one user who can log in, whose other processes are ended
    #[arg(long, default_value = login::USER)]
    user: String,
}

/// Runs the subcommand until SIGTERM or SIGINT.
pub async fn run(args: SshdArgs, files: SettingsFiles) -> anyhow::Result<ExitCode> {
    let settings = files.source(Flags::default()).load().settings()?.clone();
    if settings.sshd == SshdChoice::Off {
        anyhow::bail!("SSHD is off: set SSHD=auto to let the stored authorized keys log in");
    }
    let syslog = telemetry::init(&settings)?;
    let shutdown = CancellationToken::new();
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let (mut signal, shutdown) = (signal(kind)?, shutdown.clone());
        tokio::spawn(async move {
            signal.recv().await;
            shutdown.cancel();
        });
    }
    login::run(&settings, &args.run_dir, &args.user, syslog, shutdown).await?;
    Ok(ExitCode::SUCCESS)
}
