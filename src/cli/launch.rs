use std::ffi::OsString;
use std::iter;
use std::process::ExitCode;

/// Configure and start the application of this image (makina-states), as the program `launcher` does
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct LaunchArgs {
    /// Steps, such as ssh_config=True and re_configure=True; --help lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "STEP")]
    steps: Vec<OsString>,
}

/// Runs the subcommand. The application runs meanwhile, so that its end is this program's.
pub fn run(LaunchArgs { steps }: LaunchArgs) -> ExitCode {
    launcher::run("image-factory", iter::once("launch".into()).chain(steps))
}
