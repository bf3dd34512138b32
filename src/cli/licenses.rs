use std::io::{self, Write};
use std::process::ExitCode;

/// Show the licences of the libraries in this program, and where their sources are
#[derive(Debug, clap::Args)]
pub struct LicensesArgs {}

/// Runs the subcommand.
pub fn run(_args: &LicensesArgs) -> anyhow::Result<ExitCode> {
    io::stdout().write_all(include_bytes!("../../THIRD-PARTY-NOTICES.txt"))?;
    Ok(ExitCode::SUCCESS)
}
