//! Errors of an engine: each says whose fault it is, from what the engine reports.

use hyper::StatusCode;

use crate::engine::advice::{self, fill, with_cure};
use crate::git::GitError;
use crate::model::{Advice, FailureClass, LogSink};
use crate::outbound::chain;

/// The party that caused a failure, and thereby the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile or one of its steps, which the user has to mend.
    Build,
    /// A step that was killed for its memory, as far as is known.
    Memory,
    /// A registry that does not accept our login. Another attempt would not help.
    Auth,
    /// A registry's login that was not sent, because others could read it on its way.
    Exposed,
    /// A registry that is in trouble. Another push may help.
    Registry,
    /// The engine, which is away or in trouble.
    Engine,
    /// This machine, which could not read the files to be built.
    Tree,
    /// The commit, which has an object that is not what its tree says. The committer has to mend it, and another
    /// attempt would not help.
    Commit,
}

impl ErrorKind {
    /// Returns the failure class of a job that ends with this kind of error.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Build => FailureClass::Dockerfile,
            Self::Memory => FailureClass::OutOfMemory,
            Self::Auth | Self::Exposed => FailureClass::RegistryAuth,
            Self::Registry => FailureClass::Registry,
            Self::Engine => FailureClass::Engine,
            Self::Tree => FailureClass::LostWorker,
            Self::Commit => FailureClass::Source,
        }
    }
}

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
    /// True if the message has the engine's address.
    pub(in crate::engine) names_engine: bool,
}

impl EngineError {
    pub(in crate::engine) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: None, status: None, names_engine: false }
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
        Self::new(kind, fill(advice::UNREADABLE_TREE.text, &[error]))
    }

    /// Makes the error for a connection that broke before the engine's answer was complete.
    pub(in crate::engine) fn broken(source: &dyn std::error::Error) -> Self {
        Self::engine(fill(advice::BROKEN.text, &[&chain(source)]))
    }

    /// Makes an error from the engine's message about a push.
    pub(in crate::engine) fn from_push(message: &str) -> Self {
        let kind =
            kind_by_text(message, REMOVED).or_else(|| kind_by_text(message, KNOWN)).unwrap_or(ErrorKind::Registry);
        Self::new(kind, one_line(message))
    }

    /// Makes the error for a step of the Dockerfile that failed.
    pub(in crate::engine) fn from_step(step: &str, code: i32) -> Self {
        let message = with_cure(&advice::FAILED_STEP, &[&format!("{:?}", one_line(step)), &code]);
        Self { exit_code: Some(code), ..Self::new(ErrorKind::Build, message) }
    }

    /// Refines an exit code of [`SIGKILL_EXIT`] by what is known about the sender of the signal.
    pub(in crate::engine) fn killed(self, killer: KilledBy) -> Self {
        let (kind, how) = match killer {
            KilledBy::Kernel => (ErrorKind::Memory, advice::OUT_OF_MEMORY),
            KilledBy::Unknown => (ErrorKind::Memory, advice::PERHAPS_OUT_OF_MEMORY),
            KilledBy::Other => (ErrorKind::Build, advice::KILLED_BY_OTHERS),
        };
        Self { kind, message: format!("{}; {}", self.message, how.text), ..self }
    }

    /// Makes an error from the engine's message about a build and the step that the message names.
    pub(in crate::engine) fn from_build(message: &str, step: Option<&str>) -> Self {
        if let Some((code, rest)) = exit_code(message) {
            let error = Self::from_step(step.unwrap_or(message), code);
            // Newer BuildKits look at the memory.events of the step's own control group.
            return if rest.contains("cannot allocate memory") { error.killed(KilledBy::Kernel) } else { error };
        }
        let text = one_line(without_wrapping(message));
        match kind_by_text(message, KNOWN).unwrap_or(ErrorKind::Build) {
            ErrorKind::Auth if is_denied_by_docker_hub(message) => {
                Self::new(ErrorKind::Build, format!("{text}; {}", advice::NOT_ON_DOCKER_HUB.text))
            }
            ErrorKind::Auth => Self::new(ErrorKind::Auth, format!("{text}; {}", advice::NOT_READABLE.text)),
            kind => Self::new(kind, text),
        }
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

/// One cause of the engine's own messages, where their text is all that the engine gives.
struct KnownText {
    kind: ErrorKind,
    /// Parts of such messages, in lower case.
    needles: &'static [&'static str],
    cause: &'static str,
    cure: &'static str,
}

/// Texts of the engine's messages. The first row with a part in the message decides, unless the message has an HTTP
/// status.
const KNOWN: &[KnownText] = &[
    // The file systems of the engine: the texts that Go has for ENOSPC, EDQUOT and EIO.
    KnownText {
        kind: ErrorKind::Engine,
        needles: &["no space left on device", "disk quota exceeded", "input/output error"],
        cause: "The engine cannot write to its own disk.",
        cure: "make room on the engine's disk, or replace the disk if it is broken; the job is tried again",
    },
    // distribution's error codes (registry/api/errcode), containerd's docker resolver, docker's registry client.
    KnownText {
        kind: ErrorKind::Auth,
        needles: &[
            "unauthorized",
            "no basic auth credentials",
            "denied: requested access",
            "access denied",
            "access to the resource is denied",
            "authentication required",
            "authorization failed",
            "incorrect username or password",
        ],
        cause: "A registry does not accept the login of the dockercfg, or there is none for it.",
        cure: "store a login that may read or write the image: `image-factory secrets put dockercfg FILE`",
    },
    // The same three, and Go's net and net/http.
    KnownText {
        kind: ErrorKind::Registry,
        needles: &[
            "failed to do request",
            "dial tcp",
            "i/o timeout",
            "tls handshake",
            "connection refused",
            "connection reset by peer",
            "client.timeout exceeded",
            "toomanyrequests",
            "unexpected status code",
            "unexpected status from",
            "unexpected http status",
            "httpreadseeker",
        ],
        cause: "The engine cannot reach a registry, or the registry is overloaded or broken.",
        cure: "check the network between the engine and the registry; the job is tried again",
    },
    // gRPC between dockerd, BuildKit and containerd (codes 14 and 1), and BuildKit's own text for a lost session.
    KnownText {
        kind: ErrorKind::Engine,
        needles: &[
            "code = unavailable",
            "code = canceled",
            "context canceled",
            "transport is closing",
            "no active session",
        ],
        cause: "Parts of the engine lost the connection to each other, or to the daemon.",
        cure: "nothing if it is rare, because the job is tried again; otherwise read the engine's own log",
    },
];

const REMOVED: &[KnownText] = &[KnownText {
    kind: ErrorKind::Engine,
    needles: &["does not exist locally", "tag does not exist", "no such image"],
    cause: "Somebody removed the image from the engine between the build and the push.",
    cure: "let nothing else remove images of the engine; the job is tried again",
}];

/// Returns the rows of docs/troubleshooting.md about engines.
pub fn advice() -> Vec<Advice> {
    let known = KNOWN.iter().chain(REMOVED).flat_map(|row| {
        let code = row.kind.class().as_str();
        row.needles.iter().map(move |text| Advice { code, text, cause: row.cause, cure: row.cure })
    });
    advice::MESSAGES.iter().copied().chain(known).collect()
}

fn kind_by_text(message: &str, rows: &[KnownText]) -> Option<ErrorKind> {
    let message = message.to_ascii_lowercase();
    let by_text = || rows.iter().find(|row| row.needles.iter().any(|needle| message.contains(needle)));
    match http_status(&message).map(|status| status.as_u16()) {
        Some(401 | 403) => Some(ErrorKind::Auth),
        Some(408 | 429 | 500..=599) => Some(ErrorKind::Registry),
        // Another attempt would get the same answer.
        Some(400..=499) => None,
        _ => by_text().map(|row| row.kind),
    }
}

/// Finds a status with its phrase in a message in lower case, such as `unexpected http status: 503 service
/// unavailable`.
fn http_status(message: &str) -> Option<StatusCode> {
    let numbers = message.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| &message[at..]);
    let mut statuses = numbers.filter_map(|text| Some((StatusCode::from_bytes(text.get(..3)?.as_bytes()).ok()?, text)));
    statuses.find_map(|(status, text)| {
        let phrase = status.canonical_reason()?.to_ascii_lowercase();
        text[3..].trim_start().starts_with(&phrase).then_some(status)
    })
}

/// Finds `… exit code: 3` at the end of a line, and returns the code and the rest of the line. Both `executor failed
/// running […]` of BuildKit 0.8 and `process "…" did not complete successfully` of later ones have it. The latter may go
/// on with `: cannot allocate memory`.
fn exit_code(message: &str) -> Option<(i32, &str)> {
    let (_, rest) = message.lines().find_map(|line| line.rsplit_once("exit code: "))?;
    let (digits, rest) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let is_end = rest.trim().is_empty() || rest.starts_with(": ");
    digits.parse().ok().filter(|_| is_end).map(|code| (code, rest))
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
