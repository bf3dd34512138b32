use std::io;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;

/// Write the completions of a shell, for `source <(image-factory completions bash)`
#[derive(Debug, clap::Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

/// Runs the subcommand.
pub fn run(args: &CompletionsArgs) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "image-factory", &mut text);
    io::Write::write_all(&mut io::stdout(), &text)?;
    Ok(ExitCode::SUCCESS)
}
