use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, colored, colors_on, pick, plain, print_json, short, state};
use crate::client::{JobSearch, Millis, RemoteJob, Status};
use crate::model::RepoName;

/// List the newest jobs
#[derive(Debug, clap::Args)]
pub struct JobsArgs {
    /// List only jobs of this repository
    #[arg(long, value_name = "OWNER/REPO", value_parser = RepoName::parse)]
    repo: Option<RepoName>,
    /// List only jobs of this branch or tag, of the current folder's origin unless --repo names a repository
    #[arg(long)]
    branch: Option<String>,
    /// List only jobs in this state: pending, running, success, failure or cancelled
    #[arg(long, value_parser = status)]
    status: Option<Status>,
    /// List only jobs of commits whose id begins so
    #[arg(long)]
    commit: Option<String>,
    /// Number of jobs
    #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

fn status(text: &str) -> Result<Status, &'static str> {
    text.parse().map_err(|_| "write pending, running, success, failure or cancelled")
}

/// Runs the subcommand.
pub async fn run(args: JobsArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let JobsArgs { repo, branch, status, commit, limit, connection } = args;
    let client = connection.client(daemon)?;
    let repo = match &branch {
        Some(_) => Some(pick::repository(repo).await?),
        None => repo,
    };
    let repository = repo.map(|repo| repo.to_string());
    let jobs = client.jobs(&JobSearch { limit, repository, branch, status, commit }).await?;
    if connection.json {
        print_json(&jobs)?;
    } else {
        let mut out = io::stdout().lock();
        out.write_all(table(&jobs, Millis::now(), colors_on(&out)).as_bytes())?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Column of the status.
const STATUS: usize = 4;

fn table(jobs: &[RemoteJob], now: Millis, colors: bool) -> String {
    let head = ["ID", "REPOSITORY", "REF", "COMMIT", "STATUS", "CLASS", "AGE", "TOOK", "WAITS FOR"].map(str::to_owned);
    let rows: Vec<[String; 9]> = std::iter::once(head).chain(jobs.iter().map(|job| row(job, now))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..9).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cell = |column: usize| {
            let padded = format!("{:width$}", row[column], width = widths[column]);
            if column == STATUS { colored(&padded, &row[STATUS], colors) } else { padded }
        };
        let line: Vec<String> = (0..9).map(cell).collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

fn row(job: &RemoteJob, now: Millis) -> [String; 9] {
    let context = &job.context;
    let commit = job.resolved_commit.as_ref().unwrap_or(&context.commit);
    [
        job.id.clone(),
        shortened(&format!("{}/{}", context.owner, context.repo), 40),
        shortened(job.branch(), 30),
        plain(commit).chars().take(12).collect(),
        state(job).into(),
        job.class.map(|class| class.as_str().into()).unwrap_or_default(),
        short(now.since(job.create_time)),
        job.took(now).map(short).unwrap_or_default(),
        job.waiting_for.as_ref().map(|waits| plain(&waits.reason)).unwrap_or_default(),
    ]
}

fn shortened(text: &str, limit: usize) -> String {
    let text = plain(text);
    if text.chars().count() <= limit {
        return text;
    }
    text.chars().take(limit - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(status: &str, branch: &str) -> RemoteJob {
        serde_json::from_value(json!({
            "id": "0199a1b2", "context": {"owner": "acme", "repo": "hello", "branch": branch, "commit": "HEAD",
                "github": true, "dockerRepoBase": "q", "tag": "HEAD"}, "image": "q/acme-hello:HEAD", "status": status,
            "results": {}, "startTime": "1970-01-01T00:00:01.000Z", "endTime": null,
            "createTime": "1970-01-01T00:00:00.000Z", "attempt": 1, "resolvedCommit": null, "digest": null,
            "cause": null, "class": (status == "failure").then_some("registry-auth"), "advice": null, "cancelled": false,
            "cancelRequested": false, "waitingFor": (status == "pending").then_some(json!({"kind": "engine", "reason": "it is away"}))
        }))
        .unwrap()
    }

    #[test]
    fn columns_are_aligned_and_nothing_moves_the_cursor() {
        let jobs = [job("running", "develop"), job("failure", "a\x1b[2Jb"), job("pending", "main")];
        assert_eq!(
            table(&jobs, Millis(62_000), false),
            "ID        REPOSITORY  REF      COMMIT  STATUS   CLASS          AGE    TOOK   WAITS FOR\n\
             0199a1b2  acme/hello  develop  HEAD    running                 1m02s  1m01s\n\
             0199a1b2  acme/hello  a\u{fffd}[2Jb   HEAD    failure  registry-auth  1m02s  1m01s\n\
             0199a1b2  acme/hello  main     HEAD    pending                 1m02s  1m01s  it is away\n"
        );
        assert!(table(&jobs, Millis(0), true).contains("\x1b[31mfailure\x1b[0m"));
    }

    /// A job of a commit's id alone has the wire's default branch, which nobody named. A reason is no shorter than its move.
    #[test]
    fn a_commit_alone_has_no_ref_and_a_reason_is_shown_whole() {
        let commit = RemoteJob { branch_left_out: true, ..job("running", "develop") };
        let mut waits = job("pending", "main");
        let reason = "no engine answers: ".to_owned() + &"a long way ".repeat(20) + "start it";
        waits.waiting_for.as_mut().unwrap().reason = reason.clone();
        let shown = table(&[commit, waits], Millis(62_000), false);
        assert!(!shown.contains("develop") && shown.ends_with(&format!("  {reason}\n")), "{shown}");
    }
}
