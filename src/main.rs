use std::process::ExitCode;

use clap::Parser;
use image_factory::cli::{self, Cli};
use image_factory::outbound;

#[tokio::main]
async fn main() -> ExitCode {
    outbound::install_tls_provider();
    cli::run(Cli::parse()).await
}
