//! Errors of an engine: each says whose fault it is, from what the engine reports.

use hyper::StatusCode;

use super::kind::ErrorKind;
use super::texts;
use crate::engine::advice::{self, with_cure};
use crate::git::GitError;
use crate::model::{FailedStep, LogSink};
use crate::outbound::chain;

/// The sender of the SIGKILL that ended a step, as far as is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum KilledBy {
    /// The OOM killer.
    Kernel,
    Other,
    Unknown,
}

/// The reason why an engine did not do a task; the message is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: ErrorKind,
    pub message: String,
    /// Exit code of the `RUN` step that failed.
    pub exit_code: Option<i32>,
    /// Status of the engine's answer, if it is not a success.
    pub status: Option<StatusCode>,
    /// Step of the Dockerfile at which the build ended.
    pub step: Option<Box<StepReport>>,
    /// True if the message has the engine's address.
    pub(in crate::engine) names_engine: bool,
    /// True if the connection broke before the engine's answer was complete.
    pub(in crate::engine) is_cut_off: bool,
}

/// The step at which a build ended, as the builder reports it, without secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepReport {
    pub name: String,
    /// The last line that the step wrote.
    pub last_line: Option<String>,
}

impl StepReport {
    /// Makes a report whose texts are masked as in the log, before anything shortens them and parts a secret.
    pub(in crate::engine) fn masked(name: &str, last_line: &str, log: &dyn LogSink) -> Self {
        let last_line = Some(log.masked(last_line)).filter(|line| !line.trim().is_empty());
        Self { name: log.masked(name), last_line }
    }
}

impl EngineError {
    pub(in crate::engine) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let (exit_code, status, step, names_engine, is_cut_off) = (None, None, None, false, false);
        Self { kind, message: message.into(), exit_code, status, step, names_engine, is_cut_off }
    }

    pub(in crate::engine) fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// Makes an error of the engine whose message has the engine's address.
    pub(in crate::engine) fn named_engine(message: impl Into<String>) -> Self {
        Self { names_engine: true, ..Self::engine(message) }
    }

    /// Makes the error for a commit whose files could not be read.
    pub(in crate::engine) fn tree(error: &GitError) -> Self {
        let kind = if error.is_transient() { ErrorKind::Tree } else { ErrorKind::Commit };
        Self::new(kind, advice::UNREADABLE_TREE.fill(&[error]))
    }

    /// Makes the error for a connection that broke before the engine's answer was complete.
    pub(in crate::engine) fn broken(source: &dyn std::error::Error) -> Self {
        // hyper's own words do not say that the other side ended the connection.
        let reason = ["operation was canceled", "connection closed before message completed"]
            .iter()
            .fold(chain(source), |reason, words| reason.replace(words, "the other side closed it before it answered"));
        Self { is_cut_off: true, ..Self::engine(advice::BROKEN.fill(&[&reason])) }
    }

    /// Makes an error from the engine's message about a push. An answer of the registry that is not known to pass by
    /// itself is final.
    pub(in crate::engine) fn from_push(message: &str) -> Self {
        let text = one_line(&registry_words(message));
        let text = text.trim_end_matches('.');
        match texts::of_push(message) {
            Some(row) if matches!(row.kind, ErrorKind::Refused | ErrorKind::Setup | ErrorKind::Immutable) => {
                Self::new(row.kind, format!("{text}; {}", row.cure))
            }
            Some(row) => Self::new(row.kind, text),
            None => Self::new(ErrorKind::Refused, with_cure(&texts::OTHER, &[&text])),
        }
    }

    /// Classifies the refusal of a whole request for a push, by which Podman reports what the registry said. An answer in
    /// unknown words is the registry's if Podman had begun to push.
    pub(in crate::engine) fn classify_push_refusal(self) -> Self {
        const BEGINNINGS: [&str; 4] =
            ["Uploading manifest failed", "writing manifest: ", "writing blob: ", "trying to reuse blob "];
        let has_begun = BEGINNINGS.iter().any(|words| self.message.contains(words));
        match self.status.filter(|_| has_begun || texts::of_push(&self.message).is_some()) {
            Some(_) => Self::from_push(without_podmans_pushing(&self.message)),
            None => self,
        }
    }

    /// Makes the error for a step of the Dockerfile that failed.
    pub(in crate::engine) fn from_step(report: StepReport, code: i32) -> Self {
        let step = FailedStep::read(&report.name, report.last_line.as_deref());
        let name = step.as_ref().map_or_else(|| one_line(&report.name), FailedStep::name);
        let message = match step.and_then(|step| step.last_line) {
            Some(line) => advice::FAILED_STEP.fill(&[&name, &code, &line]),
            None => advice::SILENT_STEP.fill(&[&name, &code]),
        };
        Self { exit_code: Some(code), step: Some(Box::new(report)), ..Self::new(ErrorKind::Build, message) }
    }

    /// Returns the builder's name of the step at which the build ended.
    pub(in crate::engine) fn step_name(&self) -> &str {
        self.step.as_ref().map_or("", |step| &step.name)
    }

    /// Refines an exit code of [`SIGKILL_EXIT`] by what is known about the sender of the signal.
    pub(in crate::engine) fn killed(self, killer: KilledBy) -> Self {
        let (kind, how) = match killer {
            KilledBy::Kernel => (ErrorKind::Memory, advice::OUT_OF_MEMORY),
            KilledBy::Unknown => (ErrorKind::Memory, advice::PERHAPS_OUT_OF_MEMORY),
            KilledBy::Other => (self.kind, advice::KILLED_BY_OTHERS),
        };
        Self { kind, message: format!("{}; {}", self.message, how.text), ..self }
    }

    /// Makes an error from the engine's message about a build and the step at which it ended.
    pub(in crate::engine) fn from_build(message: &str, step: Option<StepReport>) -> Self {
        if let Some((code, rest)) = exit_code(message) {
            let step = step.unwrap_or_else(|| StepReport { name: message.to_owned(), last_line: None });
            let error = Self::from_step(step, code);
            // Newer BuildKits look at the memory.events of the step's own control group.
            return if rest.contains("cannot allocate memory") { error.killed(KilledBy::Kernel) } else { error };
        }
        let text = one_line(without_podmans_wrapping(without_wrapping(message)));
        let row = texts::of_build(message);
        let error = match row.map_or(ErrorKind::Build, |row| row.kind) {
            ErrorKind::Login | ErrorKind::Auth if is_denied_by_docker_hub(message) => {
                Self::new(ErrorKind::Build, format!("{text}; {}", advice::NOT_ON_DOCKER_HUB.text))
            }
            // A registry answers a wrong name after FROM and a missing login alike, so both sides hear of it.
            ErrorKind::Login | ErrorKind::Auth => {
                Self::new(ErrorKind::Auth, format!("{text}; {}", advice::NOT_READABLE.text))
            }
            // The Dockerfile may have named another registry than was meant, so both sides hear of it, too.
            ErrorKind::Refused | ErrorKind::Setup => {
                Self::new(ErrorKind::Refused, format!("{text}; {}", row.map_or("", |row| row.cure)))
            }
            kind => Self::new(kind, text),
        };
        Self { step: step.map(Box::new), ..error }
    }

    /// Classifies the refusal of a whole build request. The engine's text decides about a 4xx; a 5xx is the engine's
    /// own fault.
    pub(in crate::engine) fn classify_refusal(self) -> Self {
        match self.status {
            Some(status) if status.is_client_error() => Self::from_build(&self.message, None),
            _ => self,
        }
    }
}

/// Exit code that shells give for SIGKILL: 128 and the signal's number.
pub(in crate::engine) const SIGKILL_EXIT: i32 = 137;

/// Returns true for Docker Hub's answer about an image that does not exist or is private. Registries answer both
/// alike, so that nobody finds out names. On Docker Hub most images are public, so there it is a wrong name. BuildKit
/// writes `docker.io/library/x: pull access denied`, the classic builder `pull access denied for x, …`.
fn is_denied_by_docker_hub(message: &str) -> bool {
    if !message.contains("pull access denied") {
        return false;
    }
    let name = message.split_once("pull access denied for ").and_then(|(_, rest)| rest.split(',').next());
    match name.map(|name| name.split_once('/').map_or("", |(first, _)| first)) {
        Some(first) => !first.contains(['.', ':']) && first != "localhost",
        None => message.contains("docker.io/"),
    }
}

/// Finds `… exit code: 3` at the end of a line, and returns the code and the rest of the line. Both `executor failed
/// running […]` of BuildKit 0.8 and `process "…" did not complete successfully` of later ones have it. The latter may go
/// on with `: cannot allocate memory`. Podman has words of its own.
fn exit_code(message: &str) -> Option<(i32, &str)> {
    const WORDS: [&str; 2] = ["exit code: ", "while running runtime: exit status "];
    let found = |line| WORDS.iter().find_map(|words| str::rsplit_once(line, words));
    let (_, rest) = message.lines().find_map(found)?;
    let (digits, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let is_end = rest.trim().is_empty() || rest.starts_with(": ");
    digits.parse().ok().filter(|_| is_end).map(|code| (code, rest))
}

/// Removes what Podman writes around the words of its parser and of a registry.
fn without_podmans_wrapping(message: &str) -> &str {
    if message.starts_with("no contents in ") {
        return "the Dockerfile is empty";
    }
    let mut message = message.split(" &imagebuilder.Step{").next().unwrap_or_default();
    loop {
        let rest = message.strip_prefix("building at STEP \"").and_then(|rest| rest.split_once("\": "));
        let of_image = || {
            let rest =
                ["unable to copy from source ", "initializing source "].iter().find_map(|it| message.strip_prefix(it));
            rest.and_then(|rest| rest.split_once(": "))
        };
        let rest = rest.or_else(of_image).map(|(_, rest)| rest);
        match rest.or_else(|| message.strip_prefix("creating build container: ")) {
            Some(rest) => message = rest,
            None => return message,
        }
    }
}

fn without_wrapping(mut message: &str) -> &str {
    const WRAPPINGS: [&str; 5] = [
        "failed to solve with frontend dockerfile.v0: ",
        "failed to solve: ",
        "failed to create LLB definition: ",
        "failed to build LLB: ",
        "rpc error: code = Unknown desc = ",
    ];
    while let Some(rest) = WRAPPINGS.iter().find_map(|w| message.strip_prefix(w)) {
        message = rest;
    }
    message
}

/// Returns the words of a registry or of a proxy before it, without docker's trouble to read them as JSON and without the
/// page around them: `HTTP 413 Request Entity Too Large`.
fn registry_words(message: &str) -> String {
    let unread = message.strip_prefix("error parsing HTTP ").and_then(|rest| rest.split_once(" response body: "));
    let of_docker = || unread.map(|(status, rest)| (status, rest.split_once(": \"").map_or("", |(_, body)| body)));
    let of_podman = || message.strip_prefix("StatusCode: ")?.split_once(", \"");
    let Some((status, body)) = of_docker().or_else(of_podman) else { return without_page(message) };
    let body = body.trim_end_matches('"');
    match without_page(body).trim() {
        "" => format!("HTTP {status}"),
        body if body.starts_with(status) => format!("HTTP {body}"),
        body => format!("HTTP {status}: {body}"),
    }
}

/// Removes what Podman writes around a registry's words about a push. After a manifest that was refused it tries other
/// forms of it, and the answer to the first one counts.
fn without_podmans_pushing(message: &str) -> &str {
    let tried = message.strip_prefix("Uploading manifest failed, attempted the following formats: ");
    let first = tried.and_then(|rest| rest.split_once('(')?.1.split("), application/").next());
    let message = first.unwrap_or(message);
    let message = message.strip_prefix("writing manifest: ").unwrap_or(message);
    message.strip_prefix("uploading manifest ").and_then(|rest| rest.split_once(": ")).map_or(message, |(_, rest)| rest)
}

/// Puts its title in the place of a web page.
fn without_page(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let Some(page) = ["<!doctype", "<html", "<head"].iter().filter_map(|tag| lower.find(tag)).min() else {
        return text.to_owned();
    };
    let between = |tag: &str| {
        let begin = page + lower[page..].find(&format!("<{tag}>"))? + tag.len() + 2;
        Some(&text[begin..begin + lower[begin..].find("</")?])
    };
    let title = ["title", "h1"].iter().find_map(|tag| between(tag)).unwrap_or("a web page");
    format!("{}{title}", &text[..page])
}

/// Makes one line of at most 1,000 characters of a text.
pub(in crate::engine) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Writes one line to the log in one piece, so that lines of two writers do not mix.
pub(in crate::engine) fn write_line(log: &dyn LogSink, line: &str) {
    log.write(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests;
