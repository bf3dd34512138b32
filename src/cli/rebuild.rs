use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, FreshArgs, LocalDaemon, follow, print_json};

/// Build the commit of an ended job again; its tags move back to it
#[derive(Debug, clap::Args)]
pub struct RebuildArgs {
    /// The job's id, or its beginning
    id: String,
    #[command(flatten)]
    fresh: FreshArgs,
    /// Show the log until the new job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Makes the job. Without `--follow`, its id alone goes to stdout.
pub async fn run(args: RebuildArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    let job = client.rebuild(&args.id, args.fresh.into()).await?;
    if args.follow {
        return follow::follow(&client, job, 0, args.connection.json).await;
    }
    match args.connection.json {
        true => print_json(&job)?,
        false => writeln!(io::stdout(), "{}", job.id)?,
    }
    Ok(ExitCode::SUCCESS)
}
