use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, plain, print_json};

/// Say whether the daemon can take jobs, as a container's HEALTHCHECK asks it; needs no token
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the subcommand. A daemon that takes jobs is healthy, also while it is degraded and cannot build them yet.
pub async fn run(args: HealthArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let readiness = args.connection.client(daemon)?.readiness().await?;
    if args.connection.json {
        print_json(&readiness)?;
    } else {
        println!("{}", readiness.status);
        readiness.reasons.iter().for_each(|reason| println!("  {}", plain(reason)));
    }
    Ok(ExitCode::SUCCESS)
}
