use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, plain, print_json, short};
use crate::client::{Millis, RemoteDelivery};

/// List the webhook deliveries of the last 30 days, or build one of them again
#[derive(Debug, clap::Args)]
pub struct DeliveriesArgs {
    #[command(subcommand)]
    command: DeliveriesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum DeliveriesCommand {
    /// List the newest deliveries
    List {
        /// Number of deliveries
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Make a new job of a delivery
    Replay {
        /// The delivery's id, or its beginning
        id: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

impl DeliveriesArgs {
    pub fn json(&self) -> bool {
        match &self.command {
            DeliveriesCommand::List { connection, .. } | DeliveriesCommand::Replay { connection, .. } => {
                connection.json
            }
        }
    }
}

/// Runs the subcommand.
pub async fn run(args: DeliveriesArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match args.command {
        DeliveriesCommand::List { limit, connection } => {
            let deliveries = connection.client(daemon)?.deliveries(limit).await?;
            match connection.json {
                true => print_json(&deliveries)?,
                false => out.write_all(table(&deliveries, Millis::now()).as_bytes())?,
            }
        }
        DeliveriesCommand::Replay { id, connection } => {
            let job = connection.client(daemon)?.replay_delivery(&id).await?;
            match connection.json {
                true => print_json(&job)?,
                false => writeln!(out, "{}", job.id)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(deliveries: &[RemoteDelivery], now: Millis) -> String {
    let head = ["ID", "FORGE", "REPOSITORY", "REF", "COMMIT", "AGE", "REPEATS", "JOB"].map(str::to_owned);
    let row = |delivery: &RemoteDelivery| {
        [
            delivery.id.clone(),
            plain(delivery.forge.as_deref().unwrap_or_default()),
            plain(&format!("{}/{}", delivery.owner, delivery.repo)),
            plain(delivery.r#ref.trim_start_matches("refs/heads/").trim_start_matches("refs/")),
            plain(&delivery.after).chars().take(12).collect(),
            short(now.since(delivery.receive_time)),
            delivery.repeats.to_string(),
            delivery
                .job
                .clone()
                .unwrap_or_else(|| plain(&format!("skipped: {}", delivery.skipped.as_deref().unwrap_or("?")))),
        ]
    };
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(deliveries.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..8).map(width).collect();
    let line = |row: &[String; 8]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
