use std::io::{self, Write};
use std::process::ExitCode;

use super::{Connection, Daemon, follow, print_json};

/// Build what an ended job built once more: the same commit; its tags move back to it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The job's id
    id: String,
    /// Show the log until the new job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Without `--follow` the new job's id is what goes to stdout.
pub async fn run(args: Args, daemon: anyhow::Result<Daemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    let job = client.rebuild(&args.id).await?;
    if args.follow {
        return follow::follow(&client, job, args.connection.json).await;
    }
    match args.connection.json {
        true => print_json(&job)?,
        false => writeln!(io::stdout(), "{}", job.id)?,
    }
    Ok(ExitCode::SUCCESS)
}
