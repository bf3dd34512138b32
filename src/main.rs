use std::process::ExitCode;

use image_factory::{cli, outbound, process};

fn main() -> ExitCode {
    // The environment may hold secrets already, so nothing comes before.
    process::forbid_dumps();
    run()
}

#[tokio::main]
async fn run() -> ExitCode {
    outbound::install_tls_provider();
    match cli::parse() {
        Ok(command) => cli::run(command).await,
        Err(code) => code,
    }
}
