use std::io::{self, Write};
use std::process::ExitCode;

use super::{Connection, Daemon, plain, print_json, short};
use crate::client::{Delivery, Millis};

/// List the webhook deliveries of the last 30 days, or build one of them again
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the newest deliveries
    List {
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        connection: Connection,
    },
    /// Make a job of a delivery once more
    Replay {
        /// The delivery's id
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
}

pub async fn run(args: Args, daemon: anyhow::Result<Daemon>) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout();
    match args.command {
        Command::List { limit, connection } => {
            let deliveries = connection.client(daemon)?.deliveries(limit).await?;
            match connection.json {
                true => print_json(&deliveries)?,
                false => out.write_all(table(&deliveries, Millis::now()).as_bytes())?,
            }
        }
        Command::Replay { id, connection } => {
            let job = connection.client(daemon)?.replay(&id).await?;
            match connection.json {
                true => print_json(&job)?,
                false => writeln!(out, "{}", job.id)?,
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(deliveries: &[Delivery], now: Millis) -> String {
    let head = ["ID", "REPOSITORY", "REF", "COMMIT", "AGE", "REPEATS", "JOB"].map(str::to_owned);
    let row = |delivery: &Delivery| {
        [
            delivery.id.clone(),
            plain(&format!("{}/{}", delivery.owner, delivery.repo)),
            plain(delivery.r#ref.trim_start_matches("refs/heads/").trim_start_matches("refs/")),
            plain(&delivery.after).chars().take(12).collect(),
            short(now.since(delivery.receive_time)),
            delivery.repeats.to_string(),
            delivery.job.clone(),
        ]
    };
    let rows: Vec<[String; 7]> = std::iter::once(head).chain(deliveries.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}
