use std::process::ExitCode;

use crate::container::{self, Surroundings};
use crate::settings::{Settings, SyslogTarget};
use crate::telemetry;

/// Settings that concern the subcommand. The daemon itself says what is wrong with the others.
pub const INIT: &[&str] =
    &["DATA_DIR", "DOCKER_HOST", "DOCKER_HOSTS", "POOL_FILE", "LOG_FORMAT", "RUST_LOG", "NO_COLOR", "LOG_IDENTIFIER"];

/// Run the daemon as a container's first process, as user 8080 with the group of the engine's socket
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// Arguments of `image-factory serve`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    serve: Vec<String>,
}

/// Runs the subcommand. The exit code is the daemon's.
pub async fn run(args: InitArgs, mut settings: Settings) -> anyhow::Result<ExitCode> {
    // The container's log has these lines; the daemon's alone go to syslog, too.
    settings.syslog = Some(SyslogTarget::Off);
    telemetry::init(&settings)?;
    let own = std::env::current_exe()?.display().to_string();
    let daemon: Vec<_> = [own, "serve".into()].into_iter().chain(args.serve).collect();
    let is_one = settings.docker_hosts.0.is_empty() && settings.pool_file.is_none();
    let surroundings =
        Surroundings { data_dir: settings.data_dir(), engine: is_one.then(|| settings.docker_host.clone()) };
    Ok(ExitCode::from(container::run(&surroundings, &daemon).await?))
}
