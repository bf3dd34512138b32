use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt;
use serde_json::json;

use super::terminal::LogOutput;
use super::{INTERRUPTED, colored, colors_on, exit_code, plain, print_json, short, state};
use crate::client::{ApiClient, Millis, RemoteJob, WaitReason};

/// Interval at which the job's progress is asked for, for a terminal's status line and for JSON.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Follows a job as [`to_end`] does. Returns the exit code of the job's result.
pub async fn follow(client: &ApiClient, job: RemoteJob, start: u64, json: bool) -> anyhow::Result<ExitCode> {
    let ended = to_end(client, job, start, json).await?;
    Ok(ended.map_or(ExitCode::from(INTERRUPTED), |job| exit_code(&job)))
}

/// Shows a job's log from the position `start` on until the job ends, and its progress: in a terminal as a line below the
/// log, with `json` as events. Returns the ended job, or `None` after Ctrl-C, which leaves the job running.
pub async fn to_end(
    client: &ApiClient,
    mut job: RemoteJob,
    start: u64,
    json: bool,
) -> anyhow::Result<Option<RemoteJob>> {
    let mut log = pin!(client.log(&job.id, start, true));
    let mut view = LogView::new(json);
    view.job(&job)?;
    let mut poll = tokio::time::interval_at(tokio::time::Instant::now() + POLL_INTERVAL, POLL_INTERVAL);
    loop {
        tokio::select! {
            piece = log.next() => match piece {
                Some(bytes) => view.log(&bytes?, &job)?,
                None => break,
            },
            _ = poll.tick(), if view.is_live() || job.waiting_for.is_some() => {
                // An error is ignored, because the log ends with one if the daemon is away for too long.
                if let Ok(now) = client.job(&job.id).await {
                    let changed = now != job;
                    job = now;
                    view.update(&job, changed)?;
                }
            }
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                view.interrupted(&job)?;
                return Ok(None);
            }
        }
    }
    let job = client.job(&job.id).await?;
    view.end(&job)?;
    Ok(Some(job))
}

enum LogView {
    /// The log on stdout, and lines on stderr at the beginning, at the end, and when the reason changes why the job waits.
    Plain { out: LogOutput, waits_for: Option<WaitReason> },
    /// The same with a status line on stderr below the log.
    Terminal { out: LogOutput },
    /// Events. `line` has the part of the log that is not a full line yet.
    Json { line: Vec<u8> },
}

impl LogView {
    fn new(json: bool) -> Self {
        match json {
            true => Self::Json { line: Vec::new() },
            false if io::stderr().is_terminal() => Self::Terminal { out: LogOutput::new() },
            false => Self::Plain { out: LogOutput::new(), waits_for: None },
        }
    }

    fn is_live(&self) -> bool {
        !matches!(self, Self::Plain { .. })
    }

    fn job(&mut self, job: &RemoteJob) -> anyhow::Result<()> {
        match self {
            Self::Json { .. } => print_json(&json!({ "event": "job", "job": job })),
            _ => {
                let _ = writeln!(io::stderr(), "job {}: {}", job.id, plain(&job.image));
                self.update(job, true)
            }
        }
    }

    fn log(&mut self, bytes: &[u8], job: &RemoteJob) -> anyhow::Result<()> {
        match self {
            Self::Plain { out, .. } => Ok(out.write(bytes)?),
            Self::Terminal { out } => {
                if out.is_at_line_start {
                    clear();
                }
                out.write(bytes)?;
                self.update(job, false)
            }
            Self::Json { line } => {
                let mut rest = bytes;
                while let Some(end) = rest.iter().position(|&b| b == b'\n') {
                    line.extend_from_slice(&rest[..end]);
                    print_json(&json!({ "event": "log", "line": String::from_utf8_lossy(line) }))?;
                    line.clear();
                    rest = &rest[end + 1..];
                }
                line.extend_from_slice(rest);
                Ok(())
            }
        }
    }

    fn update(&mut self, job: &RemoteJob, changed: bool) -> anyhow::Result<()> {
        match self {
            Self::Terminal { out: LogOutput { is_at_line_start: true, .. } } => {
                let _ = write!(io::stderr(), "\r\x1b[K{}", status_line(job, Millis::now(), terminal_width()));
            }
            Self::Json { .. } if changed => print_json(&json!({ "event": "job", "job": job }))?,
            Self::Plain { waits_for, .. } if *waits_for != job.waiting_for => {
                if let Some(WaitReason { kind, reason }) = &job.waiting_for {
                    let _ = writeln!(io::stderr(), "waits ({}): {}", kind.as_str(), plain(reason));
                }
                waits_for.clone_from(&job.waiting_for);
            }
            _ => {}
        }
        Ok(())
    }

    fn end(mut self, job: &RemoteJob) -> anyhow::Result<()> {
        self.finish_line()?;
        if let Self::Json { line } = self {
            if !line.is_empty() {
                print_json(&json!({ "event": "log", "line": String::from_utf8_lossy(&line) }))?;
            }
            return print_json(&json!({ "event": "end", "job": job }));
        }
        let state = state(job);
        let stage = job.stage().map(|stage| format!(" in {}", stage.as_str())).unwrap_or_default();
        let took = job.end_time.and_then(|end| job.took(end)).map(|took| format!(" after {}", short(took)));
        let what = match (&job.digest, &job.cause) {
            (Some(digest), _) if state == "success" => format!("{}@{digest}", job.image),
            _ if job.dry_run => format!("{} is built and not pushed, because this was a dry run", job.image),
            // The cause of a job that a user cancelled is that alone.
            (_, Some(cause)) if *cause != state => cause.clone(),
            // A test of compose-ci's API may have other images than the job's, or none.
            _ if state == "success" => {
                let pushed: Vec<_> = job.tags.iter().filter(|tag| tag.digest.is_some()).map(|tag| &*tag.name).collect();
                if pushed.is_empty() { "nothing is pushed".into() } else { pushed.join(", ") }
            }
            _ => job.image.clone(),
        };
        let word = colored(state, state, colors_on(&io::stderr()));
        let class = job.class.filter(|_| state == "failure").map(|class| format!(" ({})", class.as_str()));
        let (class, took) = (class.unwrap_or_default(), took.unwrap_or_default());
        let _ = writeln!(io::stderr(), "{word}{class}{stage}{took}: {}", plain(&what));
        for tag in &job.tags {
            if let Some(kept) = &tag.kept {
                let _ = writeln!(io::stderr(), "{}", plain(&format!("{} stays at {kept}", tag.name)));
            }
        }
        if let Some(advice) = &job.advice {
            let _ = writeln!(io::stderr(), "{}", plain(advice));
        }
        Ok(())
    }

    fn interrupted(mut self, job: &RemoteJob) -> anyhow::Result<()> {
        self.finish_line()?;
        let _ =
            writeln!(io::stderr(), "job {} is still running; to cancel it: image-factory cancel {}", job.id, job.id);
        Ok(())
    }

    /// Ends the log's colours and the current line, so that the next text begins on a line of its own.
    fn finish_line(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Json { .. } => {}
            Self::Plain { out, .. } => out.end()?,
            Self::Terminal { out } => {
                let was_at_line_start = out.is_at_line_start;
                out.end()?;
                match was_at_line_start {
                    true => clear(),
                    false => drop(writeln!(io::stderr())),
                }
            }
        }
        Ok(())
    }
}

fn clear() {
    let _ = write!(io::stderr(), "\r\x1b[K");
}

fn terminal_width() -> usize {
    // A terminal that does not know its size says 0.
    let size = rustix::termios::tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
    if size == 0 { 80 } else { size }
}

/// Describes a job's progress, cut to the width because only a single line can be cleared.
fn status_line(job: &RemoteJob, now: Millis, width: usize) -> String {
    let stage = match job.stage() {
        Some(stage) if !job.is_over() => stage.as_str(),
        _ => state(job),
    };
    let since = short(job.took(now).unwrap_or_else(|| now.since(job.create_time)));
    let context = &job.context;
    let waits_for = job.waiting_for.as_ref().map(|waits| format!("  {}", waits.reason)).unwrap_or_default();
    let line = plain(&format!("▸ {stage} {since}  {}/{} {}{waits_for}", context.owner, context.repo, job.branch()));
    line.chars().take(width - 1).collect()
}
