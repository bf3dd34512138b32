use std::process::ExitCode;

use crate::container::{self, Surroundings};
use crate::settings::{Settings, SyslogTarget};
use crate::telemetry;

/// Settings that concern the subcommand. The daemon itself says what is wrong with the others.
pub const INIT: &[&str] = &[
    "DATA_DIR",
    "DOCKER_HOST",
    "DOCKER_HOSTS",
    "POOL_FILE",
    "DOCKERD_ARGS",
    "INSECURE_REGISTRIES",
    "REGISTRY_MIRROR",
    "LOG_FORMAT",
    "RUST_LOG",
    "NO_COLOR",
    "LOG_IDENTIFIER",
];

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
    let surroundings = Surroundings {
        data_dir: settings.data_dir(),
        engine: is_one.then(|| settings.docker_host.clone()),
        dockerd_args: dockerd_args(&settings),
    };
    Ok(ExitCode::from(container::run(&surroundings, &daemon).await?))
}

/// Returns the arguments of the engine inside of the container.
fn dockerd_args(settings: &Settings) -> Vec<String> {
    let insecure = settings.insecure_registries.0.iter().map(|registry| format!("--insecure-registry={registry}"));
    let mirror = settings.registry_mirror.iter().map(|mirror| format!("--registry-mirror={mirror}"));
    let more = settings.dockerd_args.iter().flat_map(|args| args.split_whitespace()).map(str::to_owned);
    insecure.chain(mirror).chain(more).collect()
}
