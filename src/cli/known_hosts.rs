use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::app;
use crate::settings::Settings;

/// Have the daemon know an ssh server by its host keys
#[derive(Debug, clap::Args)]
pub struct KnownHostsArgs {
    #[command(subcommand)]
    command: KnownHostsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum KnownHostsCommand {
    /// Ask a server for its host keys, show their fingerprints, and add those that you confirm
    Add {
        /// HOST or HOST:PORT
        host: String,
        /// Add the key with this fingerprint without a question, and none if the server does not show it
        #[arg(long, value_name = "SHA256:…", conflicts_with = "yes")]
        fingerprint: Option<String>,
        /// Add all keys without a question; whoever answers as this host is trusted from then on
        #[arg(long)]
        yes: bool,
    },
}

/// Runs the subcommand.
pub async fn run(args: KnownHostsArgs, settings: Settings) -> anyhow::Result<ExitCode> {
    let KnownHostsCommand::Add { host, fingerprint, yes } = args.command;
    let mut keys = app::known_hosts::scan(&host).await?;
    if let Some(wanted) = &fingerprint {
        let shown: Vec<_> = keys.iter().map(|key| key.fingerprint.clone()).collect();
        keys.retain(|key| key.fingerprint == *wanted);
        if keys.is_empty() {
            anyhow::bail!(
                "{host} shows other keys ({}), and nothing was added: check the fingerprint, and who answers there",
                shown.join(", ")
            );
        }
    }
    for key in &keys {
        println!("{host} {} {}", key.kind, key.fingerprint);
    }
    let file = app::known_hosts::file(&settings);
    if fingerprint.is_none() && !yes {
        if !io::stdin().is_terminal() {
            anyhow::bail!(
                "nothing was added, because nobody can confirm it here: pass --fingerprint with what {host} publishes"
            );
        }
        eprint!("Does {host} publish these fingerprints? Add them to {}? [y/N] ", file.display());
        io::stderr().flush()?;
        let mut answer = String::new();
        io::stdin().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            eprintln!("nothing was added");
            return Ok(ExitCode::FAILURE);
        }
    }
    match app::known_hosts::add(&file, &keys)? {
        0 => println!("{} has them already", file.display()),
        added => {
            println!("added {added} to {}: a running daemon uses them from its next connection on", file.display())
        }
    }
    Ok(ExitCode::SUCCESS)
}
