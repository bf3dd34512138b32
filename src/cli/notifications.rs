use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, plain, print_json, short};
use crate::client::{Millis, RemoteNotification};

/// List the notifications about jobs, and send dead ones again
#[derive(Debug, clap::Args)]
pub struct NotificationsArgs {
    #[command(subcommand)]
    command: NotificationsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum NotificationsCommand {
    /// List the newest notifications
    List {
        /// List only dead notifications, which were given up
        #[arg(long)]
        dead: bool,
        /// List only notifications of this job
        #[arg(long, value_name = "ID")]
        job: Option<String>,
        /// Number of notifications
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
    /// Send a dead notification again; its receiver gets the same id
    Replay {
        /// The notification's id, or its beginning
        id: String,
        #[command(flatten)]
        connection: ConnectionArgs,
    },
}

impl NotificationsArgs {
    pub fn json(&self) -> bool {
        match &self.command {
            NotificationsCommand::List { connection, .. } | NotificationsCommand::Replay { connection, .. } => {
                connection.json
            }
        }
    }
}

/// Runs the subcommand.
pub async fn run(args: NotificationsArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    match args.command {
        NotificationsCommand::List { dead, job, limit, connection } => {
            let state = dead.then_some("dead");
            let notifications = connection.client(daemon)?.notifications(limit, state, job.as_deref()).await?;
            if connection.json {
                print_json(&notifications)?;
            } else {
                let mut out = io::stdout().lock();
                out.write_all(table(&notifications, Millis::now()).as_bytes())?;
                out.flush()?;
            }
        }
        NotificationsCommand::Replay { id, connection } => {
            let notification = connection.client(daemon)?.replay_notification(&id).await?;
            if connection.json {
                print_json(&notification)?;
            } else {
                writeln!(io::stdout(), "notification {} is being sent again", notification.id)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn table(notifications: &[RemoteNotification], now: Millis) -> String {
    let line = |cells: [&str; 8]| {
        let [id, job, channel, state, tries, age, host, error] = cells;
        let line = format!("{id:36}  {job:36}  {channel:10}  {state:8}  {tries:>5}  {age:>6}  {host:20}  {error}");
        format!("{}\n", line.trim_end())
    };
    let mut text = line(["ID", "JOB", "CHANNEL", "STATE", "TRIES", "AGE", "HOST", "ERROR"]);
    for notification in notifications {
        let (tries, age) = (notification.attempts.to_string(), short(now.since(notification.create_time)));
        let (host, error) =
            (notification.host.as_deref().unwrap_or("-"), plain(notification.error.as_deref().unwrap_or_default()));
        text += &line([
            &notification.id,
            &notification.job,
            &notification.channel,
            &notification.state,
            &tries,
            &age,
            host,
            &error,
        ]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let dead = RemoteNotification {
            id: "0199a1b2-0000-7000-8000-000000000001".into(),
            job: "0199a1b2-0000-7000-8000-000000000002".into(),
            channel: "post-build".into(),
            host: None,
            state: "dead".into(),
            attempts: 3,
            create_time: Millis(0),
            next_time: None,
            end_time: Some(Millis(1)),
            error: Some("it was\x1b[2J answered 410 Gone".into()),
        };
        let text = table(&[dead], Millis(62_000));
        let [head, row] = text.lines().collect::<Vec<_>>()[..] else { panic!("{text}") };
        for (name, cell) in [("JOB", "0199a1b2-0000-7000-8000-000000000002"), ("STATE", "dead"), ("ERROR", "it was")] {
            assert_eq!(head.find(name), row.find(cell), "{text}");
        }
        assert!(row.ends_with("it was\u{fffd}[2J answered 410 Gone") && row.contains("  1m02s  -  "), "{text}");
    }
}
