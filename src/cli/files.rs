use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use futures_util::StreamExt;

use super::{ConnectionArgs, LocalDaemon};

/// Get a file or a folder of the container in which a job was tested
///
/// The daemon keeps such containers with GARBAGE_COLLECT=0. A folder comes as a tar.
#[derive(Debug, clap::Args)]
pub struct FilesArgs {
    /// The job's id, or its beginning
    id: String,
    /// Path in the container; the commit's files are in /workspace
    path: String,
    /// File to write to, instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the subcommand.
pub async fn run(args: FilesArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    let (is_folder, content) = client.files(&args.id, &args.path).await?;
    let mut output: Box<dyn Write> = match &args.output {
        Some(file) => {
            Box::new(std::fs::File::create(file).with_context(|| format!("{} cannot be written", file.display()))?)
        }
        None if is_folder && io::stdout().is_terminal() => {
            bail!("{} is a folder, which comes as a tar: add --output FILE, or | tar -x", args.path)
        }
        None => Box::new(io::stdout()),
    };
    let mut content = pin!(content);
    while let Some(bytes) = content.next().await {
        output.write_all(&bytes?)?;
    }
    output.flush()?;
    Ok(ExitCode::SUCCESS)
}
