use std::process::ExitCode;

use clap::Parser;
use image_factory::cli::{self, Cli};

#[tokio::main]
async fn main() -> ExitCode {
    // reqwest is built without a provider of its own, so that only ring is compiled in.
    let _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(Cli::parse()).await.unwrap_or_else(|error| cli::fail(&error))
}
