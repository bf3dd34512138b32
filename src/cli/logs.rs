use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;
use serde_json::json;

use super::terminal::LogOutput;
use super::{ConnectionArgs, LocalDaemon, follow, pick, print_json};
use crate::model::RepoName;

/// Show a job's log
#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The beginning of the job's id, or a branch, whose newest job is taken [default: the current branch]
    #[arg(value_name = "ID|BRANCH")]
    job: Option<String>,
    /// The branch's repository [default: that of the current folder's origin]
    #[arg(long, value_name = "OWNER/REPO", value_parser = RepoName::parse)]
    repo: Option<RepoName>,
    /// Follow the log until the job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    /// Show only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<usize>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the subcommand.
pub async fn run(args: LogsArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    let job = pick::job(&client, args.job.as_deref(), args.repo).await?;
    let start = match args.tail {
        Some(lines) => client.tail_start(&job.id, lines).await?,
        None => 0,
    };
    if args.follow {
        return follow::follow(&client, job, start, args.connection.json).await;
    }
    let mut log = pin!(client.log(&job.id, start, false));
    let (mut whole, mut out) = (Vec::new(), LogOutput::new());
    while let Some(bytes) = log.next().await {
        if args.connection.json {
            whole.extend_from_slice(&bytes?);
        } else {
            out.write(&bytes?)?;
        }
    }
    if args.connection.json {
        print_json(&json!({ "id": job.id, "log": String::from_utf8_lossy(&whole) }))?;
    }
    out.end()?;
    Ok(ExitCode::SUCCESS)
}
