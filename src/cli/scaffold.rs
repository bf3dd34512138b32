use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

/// Write a new project whose image configures itself (makina-states), and the volume of its data
#[derive(Debug, clap::Args)]
pub struct ScaffoldArgs {
    /// Name of the project and of its folder
    name: String,
    /// Folder of the data [default: NAME_data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: &ScaffoldArgs) -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("the program `launcher` is not found")?;
    // Packages put both programs into one folder.
    let made =
        launcher::scaffold::write(Path::new("."), &args.name, args.data.as_deref(), &own.with_file_name("launcher"))?;
    write!(io::stdout(), "{made}")?;
    Ok(ExitCode::SUCCESS)
}
