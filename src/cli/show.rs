use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, LocalDaemon, colored, colors_on, pick, plain, print_json, short, state};
use crate::client::{Millis, RemoteJob};
use crate::model::{RepoName, StageStatus};

/// Show one job: how it is, what it builds, and why it failed
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The beginning of the job's id, or a branch, whose newest job is taken [default: the current branch]
    #[arg(value_name = "ID|BRANCH")]
    job: Option<String>,
    /// The branch's repository [default: that of the current folder's origin]
    #[arg(long, value_name = "OWNER/REPO", value_parser = RepoName::parse)]
    repo: Option<RepoName>,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Runs the subcommand.
pub async fn run(args: ShowArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let client = args.connection.client(daemon)?;
    let job = pick::job(&client, args.job.as_deref(), args.repo).await?;
    if args.connection.json {
        print_json(&job)?;
    } else {
        let mut out = io::stdout().lock();
        out.write_all(text(&job, Millis::now(), colors_on(&out)).as_bytes())?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns a line for each fact, its name in a column of its own.
fn text(job: &RemoteJob, now: Millis, colors: bool) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| text += &format!("{name:10}{}\n", plain(value));
    let context = &job.context;
    line("job", &job.id);
    let stage = job.stage().map(|stage| format!(" in {}", stage.as_str())).unwrap_or_default();
    let class = job.class.filter(|_| job.is_over()).map(|class| format!(" ({})", class.as_str())).unwrap_or_default();
    line("status", &format!("{}{class}{stage}", state(job)));
    for (name, value) in [("cause", &job.cause), ("advice", &job.advice), ("newer", &job.superseded_by)] {
        value.iter().for_each(|value| line(name, value));
    }
    job.waiting_for.iter().for_each(|waits| line("waits for", &waits.reason));
    match &job.dockerfile {
        None => line("builds", format!("{}/{} {}", context.owner, context.repo, job.branch()).trim_end()),
        Some(text) => line("builds", &format!("a Dockerfile of {} bytes that came with the request", text.len())),
    }
    line("commit", job.resolved_commit.as_ref().unwrap_or(&context.commit));
    line("image", &job.image);
    job.digest.iter().for_each(|digest| line("digest", digest));
    if job.dry_run {
        line("digest", "none: this was a dry run, which pushes nothing");
    }
    for tag in &job.tags {
        let fate = match (&tag.kept, &tag.digest) {
            (Some(kept), _) => format!("stays at {kept}"),
            (None, Some(_)) => "pushed".into(),
            (None, None) if job.is_over() => "not pushed".into(),
            (None, None) => "not pushed yet".into(),
        };
        line("tag", &format!("{} {fate}", tag.name));
    }
    let origin = match (&job.created_by, &job.origin) {
        (Some(by), Some(origin)) => format!(" by {by} ({origin})"),
        (by, origin) => by.as_ref().or(origin.as_ref()).map(|by| format!(" by {by}")).unwrap_or_default(),
    };
    let of = job.rebuild_of.as_ref().map(|of| format!(" of {of}")).unwrap_or_default();
    line("made", &format!("{} ago{origin}{of}", short(now.since(job.create_time))));
    job.cancelled_by.iter().for_each(|by| line("cancelled", &format!("by {by}")));
    if let Some(took) = job.took(now) {
        let attempts = if job.attempt > 1 { format!(" in {} attempts", job.attempt) } else { String::new() };
        line("took", &format!("{}{attempts}", short(took)));
    }
    let mut stages: Vec<_> = job.results.iter().filter(|(_, stage)| stage.status != StageStatus::Pending).collect();
    stages.sort_by_key(|(_, stage)| stage.start_time);
    for (name, stage) in stages {
        let took = stage.start_time.map(|start| format!(" {}", short(stage.end_time.unwrap_or(now).since(start))));
        line(name.as_str(), &format!("{}{}", stage.status.as_str(), took.unwrap_or_default()));
    }
    match colors {
        true => text.replacen(state(job), &colored(state(job), state(job), true), 1),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn job(status: &str, more: &serde_json::Value) -> RemoteJob {
        let mut job = json!({
            "id": "0199a1b2", "context": {"owner": "acme", "repo": "hello", "branch": "main", "commit": "HEAD",
                "github": true, "dockerRepoBase": "q", "tag": "HEAD"}, "image": "q/acme-hello:HEAD", "status": status,
            "results": {}, "startTime": null, "endTime": null, "createTime": "1970-01-01T00:00:00.000Z", "attempt": 0,
            "resolvedCommit": null, "digest": null, "cause": null, "class": null, "advice": null, "cancelled": false,
            "cancelRequested": false
        });
        job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(job).unwrap()
    }

    #[test]
    fn a_job_that_waits_says_for_what() {
        let waits = json!({"waitingFor": {"kind": "secrets", "reason": "the key does not \u{1b}decrypt"}});
        let shown = text(&job("pending", &waits), Millis(2_000), false);
        assert!(shown.contains("status    pending\nwaits for the key does not \u{fffd}decrypt\n"), "{shown}");
    }

    #[test]
    fn a_tag_that_is_being_pushed_may_come_yet() {
        let tags = json!({"tags": [{"name": "q/acme-hello:HEAD", "digest": null, "kept": null}]});
        for (status, fate) in [("running", "not pushed yet"), ("failure", "not pushed")] {
            let shown = text(&job(status, &tags), Millis(2_000), false);
            assert!(shown.contains(&format!("q/acme-hello:HEAD {fate}\n")), "{shown}");
        }
    }
}
