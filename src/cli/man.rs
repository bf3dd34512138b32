use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory;

use super::Cli;

/// Write the man pages into a folder, for packages
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct ManArgs {
    folder: PathBuf,
}

/// Writes `image-factory.1`, and `image-factory-NAME.1` for each subcommand.
pub fn run(args: &ManArgs) -> anyhow::Result<ExitCode> {
    clap_mangen::generate_to(Cli::command(), &args.folder)
        .with_context(|| format!("cannot write into {}", args.folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
