use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;
use serde_json::json;

use super::{ConnectionArgs, LocalDaemon, follow, print_json};

/// Show a job's log
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The job's id
    id: String,
    /// Follow the log until the job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    connection: ConnectionArgs,
}

/// Runs the subcommand.
pub async fn run(args: LogsArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    if args.follow {
        let job = client.job(&args.id).await?;
        return follow::follow(&client, job, args.connection.json).await;
    }
    let mut log = pin!(client.log(&args.id, false));
    let mut whole = Vec::new();
    while let Some(bytes) = log.next().await {
        if args.connection.json {
            whole.extend_from_slice(&bytes?);
        } else {
            io::stdout().write_all(&bytes?)?;
        }
    }
    if args.connection.json {
        print_json(&json!({ "id": args.id, "log": String::from_utf8_lossy(&whole) }))?;
    }
    io::stdout().flush()?;
    Ok(ExitCode::SUCCESS)
}
