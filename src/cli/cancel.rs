use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, print_json, state};

/// Cancel a job
#[derive(Debug, clap::Args)]
pub struct CancelArgs {
    /// The job's id, or its beginning
    id: String,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the subcommand.
pub async fn run(args: CancelArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let job = args.connection.client(daemon)?.cancel(&args.id).await?;
    if args.connection.json {
        print_json(&job)?;
    } else if job.is_over() {
        writeln!(io::stdout(), "job {} is {}", job.id, state(&job))?;
    } else {
        writeln!(io::stdout(), "job {} is being cancelled", job.id)?;
    }
    Ok(ExitCode::SUCCESS)
}
