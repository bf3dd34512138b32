use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{ConnectionArgs, FAILED, LocalDaemon, plain, print_json, short};
use crate::client::{ApiClient, Millis, RemoteEngine, RemoteEngineJob};
use crate::disk::ByteSize;

/// Time between two looks at an engine that is drained.
const LOOK: Duration = Duration::from_secs(1);

/// Show the engines, and take one out of service for maintenance
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct EnginesArgs {
    #[command(subcommand)]
    command: Option<EnginesCommand>,
    #[command(flatten)]
    connection: ConnectionArgs,
}

#[derive(Debug, clap::Subcommand)]
enum EnginesCommand {
    /// Give an engine no new jobs; those that it has go on
    Cordon {
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Give an engine jobs again
    Uncordon {
        #[command(flatten)]
        engine: EngineArgs,
    },
    /// Cordon an engine, and empty it
    Drain {
        /// Wait until no job has the engine, and show those that do
        #[arg(long)]
        wait: bool,
        /// Longest time to wait, in minutes
        #[arg(long, value_name = "MINUTES", default_value_t = 60, requires = "wait")]
        limit: u64,
        /// Put its jobs back into the queue at once, so that other engines run them from the start
        #[arg(long)]
        now: bool,
        #[command(flatten)]
        engine: EngineArgs,
    },
}

#[derive(Debug, clap::Args)]
struct EngineArgs {
    /// The engine's number in the list, its name, or the beginning of the name
    #[arg(value_name = "ENGINE")]
    name: String,
    #[command(flatten)]
    connection: ConnectionArgs,
}

impl EnginesArgs {
    pub fn json(&self) -> bool {
        match &self.command {
            None => self.connection.json,
            Some(
                EnginesCommand::Cordon { engine }
                | EnginesCommand::Uncordon { engine }
                | EnginesCommand::Drain { engine, .. },
            ) => engine.connection.json,
        }
    }
}

/// Runs the subcommand. Returns failure if jobs still have the engine when the time to wait is over.
pub async fn run(args: EnginesArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let Some(command) = args.command else {
        let engines = args.connection.client(daemon)?.engines().await?;
        match args.connection.json {
            true => print_json(&engines)?,
            false => io::stdout().write_all(table(&engines, Millis::now()).as_bytes())?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (engine, json) = match command {
        EnginesCommand::Cordon { engine: EngineArgs { name, connection } } => {
            (connection.client(daemon)?.cordon(&name).await?, connection.json)
        }
        EnginesCommand::Uncordon { engine: EngineArgs { name, connection } } => {
            (connection.client(daemon)?.uncordon(&name).await?, connection.json)
        }
        EnginesCommand::Drain { wait, limit, now, engine: EngineArgs { name, connection } } => {
            let client = connection.client(daemon)?;
            let mut engine = client.drain(&name, now).await?;
            if wait {
                engine = until_empty(&client, engine, Duration::from_secs(limit * 60)).await?;
            }
            if wait && !engine.jobs.is_empty() {
                let jobs = engine.jobs.iter().map(|job| job_line(job, Millis::now())).collect::<Vec<_>>();
                eprintln!("image-factory: after {limit} min these jobs still have {}:", plain(&engine.name));
                eprintln!("{}", jobs.join("\n"));
                return Ok(ExitCode::from(FAILED));
            }
            (engine, connection.json)
        }
    };
    match json {
        true => print_json(&engine)?,
        false => writeln!(io::stdout(), "{}: {}", plain(&engine.name), outcome(&engine))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Waits until no job has the engine, or the time is over, and says on standard error which jobs still do.
async fn until_empty(client: &ApiClient, mut engine: RemoteEngine, limit: Duration) -> anyhow::Result<RemoteEngine> {
    let begun = Instant::now();
    let mut shown = Vec::new();
    while !engine.jobs.is_empty() && begun.elapsed() < limit {
        let ids: Vec<_> = engine.jobs.iter().map(|job| job.id.clone()).collect();
        if ids != shown {
            eprintln!("waiting for {} of {}:", jobs(ids.len()), plain(&engine.name));
            engine.jobs.iter().for_each(|job| eprintln!("{}", job_line(job, Millis::now())));
            shown = ids;
        }
        sleep(LOOK).await;
        let name = engine.name;
        let found = client.engines().await?.into_iter().find(|other| other.name == name);
        engine = found.ok_or_else(|| anyhow::anyhow!("the daemon does not have the engine {name} any more"))?;
    }
    Ok(engine)
}

fn outcome(engine: &RemoteEngine) -> String {
    match (engine.cordon_time, engine.jobs.len()) {
        (None, _) => "takes jobs".into(),
        (Some(_), 0) => "takes no new jobs, and has none".into(),
        (Some(_), 1) => "takes no new jobs; 1 job still has it".to_owned(),
        (Some(_), left) => format!("takes no new jobs; {} still have it", jobs(left)),
    }
}

fn jobs(number: usize) -> String {
    if number == 1 { "1 job".into() } else { format!("{number} jobs") }
}

fn job_line(job: &RemoteEngineJob, now: Millis) -> String {
    let RemoteEngineJob { id, owner, repo, branch, stage, since } = job;
    let stage = stage.as_deref().unwrap_or("-");
    plain(&format!("   {id}  {owner}/{repo}  {branch}  {stage}  {}", short(now.since(*since))))
}

/// Returns a line for each engine, and below it a line for each of its jobs and for its trouble.
fn table(engines: &[RemoteEngine], now: Millis) -> String {
    let head = ["#", "ENGINE", "VERSION", "BUILDER", "STATE", "SLOTS", "DISK FREE", "OURS"].map(str::to_owned);
    let rows: Vec<[String; 8]> = std::iter::once(head).chain(engines.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..8).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let line: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
        let Some(engine) = at.checked_sub(1).map(|at| &engines[at]) else { continue };
        if let Some(since) = engine.cordon_time {
            let by = engine.cordoned_by.as_deref().unwrap_or("-");
            text += &plain(&format!("   cordoned {} ago by {by}", short(now.since(since))));
            text.push('\n');
        }
        if let Some(trouble) = &engine.trouble {
            text += &format!("   {}\n", plain(trouble));
        }
        for job in &engine.jobs {
            text += &format!("{}\n", job_line(job, now));
        }
    }
    text
}

fn row(engine: &RemoteEngine) -> [String; 8] {
    let state = match engine.cordon_time {
        None => engine.health.clone(),
        Some(_) => format!("{}, {}", engine.health, if engine.draining { "draining" } else { "cordoned" }),
    };
    let size = |bytes: Option<u64>| bytes.map_or("-".into(), |bytes| ByteSize(bytes).to_string());
    [
        engine.index.to_string(),
        plain(&engine.name),
        plain(engine.version.as_deref().unwrap_or("-")),
        plain(engine.builder.as_deref().unwrap_or("-")),
        state,
        format!("{}/{}", engine.used_slots, engine.slots),
        size(engine.disk.free_bytes),
        size(engine.disk.our_bytes),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn engines_their_jobs_and_their_trouble_are_shown() {
        let engine = |index, name: &str, more: serde_json::Value| -> RemoteEngine {
            let mut engine = json!({"index": index, "name": name, "version": null, "builder": null, "health": "away",
                "trouble": null, "cordonTime": null, "cordonedBy": null, "draining": false, "slots": 2, "usedSlots": 0,
                "jobs": [], "disk": {"freeBytes": null, "floorBytes": 1, "ourBytes": null, "budgetBytes": 1}});
            engine.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(engine).unwrap()
        };
        let job = json!({"id": "0199a1b2", "owner": "acme", "repo": "hello", "branch": "m\u{1b}ain", "stage": "build",
            "since": "1970-01-01T00:00:58.000Z"});
        let engines = [
            engine(
                1,
                "unix:///a.sock",
                json!({"version": "26.1.5", "builder": "buildkit", "health": "well", "usedSlots": 1, "jobs": [job],
                "draining": true, "cordonTime": "1970-01-01T00:00:00.000Z", "cordonedBy": "ann",
                "disk": {"freeBytes": 12_u64 << 30, "floorBytes": 1, "ourBytes": 700 << 20, "budgetBytes": 1}}),
            ),
            engine(2, "tcp://b:2376", json!({"trouble": "cannot reach it"})),
        ];
        insta::assert_snapshot!(table(&engines, Millis(62_000)), @r"
        #  ENGINE          VERSION  BUILDER   STATE           SLOTS  DISK FREE  OURS
        1  unix:///a.sock  26.1.5   buildkit  well, draining  1/2    12.0 GiB   700 MiB
           cordoned 1m02s ago by ann
           0199a1b2  acme/hello  m�ain  build  4.0s
        2  tcp://b:2376    -        -         away            0/2    -          -
           cannot reach it
        ");
    }
}
