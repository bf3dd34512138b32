use std::process::ExitCode;

use image_factory::{cli, outbound};

#[tokio::main]
async fn main() -> ExitCode {
    outbound::install_tls_provider();
    match cli::parse() {
        Ok(command) => cli::run(command).await,
        Err(code) => code,
    }
}
