use hyper::StatusCode;

use crate::git::GitError;
use crate::model::LogSink;
use crate::outbound::chain;

use crate::engine::upkeep::oom::Killer;

/// Whose fault a failure is, and so what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile, or a step of it: the user's.
    Build,
    /// A step of it was killed, for its memory as far as can be told.
    Memory,
    /// A registry does not accept us: final at once.
    Auth,
    /// A registry's login was not sent, as it could be read on its way.
    Exposed,
    /// A registry is in trouble: worth another push.
    Registry,
    /// The engine is away, or in trouble.
    Engine,
    /// What is to be built could not be read: this machine's.
    Tree,
    /// The commit has an object that is not what its tree says: the committer's fault, final.
    Commit,
}

/// Why the engine did not do what it was asked; the message is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: ErrorKind,
    pub message: String,
    /// That of the `RUN` step that failed.
    pub exit_code: Option<i32>,
    /// The engine's answer, if it was not a success.
    pub status: Option<StatusCode>,
}

impl EngineError {
    pub(in crate::engine) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: None, status: None }
    }

    pub(in crate::engine) fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// The commit's files could not be read.
    pub(in crate::engine) fn tree(error: &GitError) -> Self {
        let kind = if error.is_transient() { ErrorKind::Tree } else { ErrorKind::Commit };
        Self::new(kind, format!("the repository cannot be read for the build: {error}"))
    }

    /// The engine's connection broke before its answer was complete.
    pub(super) fn broken(source: &dyn std::error::Error) -> Self {
        Self::engine(format!("the connection to the Docker engine broke: {}", chain(source)))
    }

    /// From the engine's message about a push.
    pub(in crate::engine) fn of_push(message: &str) -> Self {
        let kind = known(message, GONE).or_else(|| known(message, WORDS)).unwrap_or(ErrorKind::Registry);
        Self::new(kind, one_line(message))
    }

    pub(in crate::engine) fn of_step(step: &str, code: i32) -> Self {
        let message = format!("step {:?} failed with exit code {code}: its output is in the log", one_line(step));
        Self { exit_code: Some(code), ..Self::new(ErrorKind::Build, message) }
    }

    /// Of a step that ended with [`KILLED`], with what is known of who killed it.
    pub(in crate::engine) fn killed(self, killer: Killer) -> Self {
        let (kind, how) = match killer {
            Killer::Kernel => (ErrorKind::Memory, "it was killed for its memory"),
            Killer::Unknown => (ErrorKind::Memory, "it was killed, most likely because no memory was left for it"),
            Killer::Other => (ErrorKind::Build, "something in it was killed, though not for its memory"),
        };
        Self { kind, message: format!("{}; {how}", self.message), ..self }
    }

    /// From the engine's message about a build, and the step that it names.
    pub(in crate::engine) fn of_build(message: &str, step: Option<&str>) -> Self {
        if let Some((code, why)) = exit_code(message) {
            let error = Self::of_step(step.unwrap_or(message), code);
            // Newer BuildKits look at the memory.events of the step's own control group.
            return if why.contains("cannot allocate memory") { error.killed(Killer::Kernel) } else { error };
        }
        let text = one_line(without_wrapping(message));
        match known(message, WORDS).unwrap_or(ErrorKind::Build) {
            ErrorKind::Auth if is_denied_by_docker_hub(message) => {
                Self::new(ErrorKind::Build, format!("{text}; {NOT_ON_THE_HUB}"))
            }
            ErrorKind::Auth => Self::new(ErrorKind::Auth, format!("{text}; {NOT_TO_BE_READ}")),
            kind => Self::new(kind, text),
        }
    }

    /// What the refusal of a whole build request means: of a 4xx the engine's words say it, a 5xx is the engine's own.
    pub(in crate::engine) fn of_refusal(self) -> Self {
        match self.status {
            Some(status) if status.is_client_error() => Self::of_build(&self.message, None),
            _ => self,
        }
    }
}

/// 128 and SIGKILL, as shells have it.
pub(in crate::engine) const KILLED: i32 = 137;

// Registries say the same of an image that does not exist and of one that is not for us (so that names cannot be found
// out). Where images are public as a rule, it is a wrong name.
const NOT_ON_THE_HUB: &str = "there is no such image on Docker Hub, or it is private and the dockercfg has no login that \
    may read it";
const NOT_TO_BE_READ: &str = "there is no such image, or the dockercfg has no login that may read it";

/// `docker.io/library/x: pull access denied` of BuildKit, `pull access denied for x, …` of the classic builder.
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

/// What words tell where an engine gives nothing else. The first row counts that has one in the message; an HTTP
/// status in the message is looked at before.
type Words = [(ErrorKind, &'static [&'static str])];

const WORDS: &Words = &[
    // The file systems of the engine: errno's words (ENOSPC, EDQUOT, EIO), as Go gives them.
    (ErrorKind::Engine, &["no space left on device", "disk quota exceeded", "input/output error"]),
    // distribution's error codes (registry/api/errcode), containerd's docker resolver, docker's registry client.
    (
        ErrorKind::Auth,
        &[
            "unauthorized",
            "no basic auth credentials",
            "denied: requested access",
            "access denied",
            "access to the resource is denied",
            "authentication required",
            "authorization failed",
            "incorrect username or password",
        ],
    ),
    // The same three, and Go's net and net/http.
    (
        ErrorKind::Registry,
        &[
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
    ),
    // gRPC between dockerd, BuildKit and containerd (codes 14 and 1), and BuildKit's own for a session that is gone.
    (
        ErrorKind::Engine,
        &["code = unavailable", "code = canceled", "context canceled", "transport is closing", "no active session"],
    ),
];
/// Somebody removed the image between build and push.
const GONE: &Words = &[(ErrorKind::Engine, &["does not exist locally", "tag does not exist", "no such image"])];

fn known(message: &str, rows: &Words) -> Option<ErrorKind> {
    let message = message.to_ascii_lowercase();
    let by_words = || rows.iter().find(|(_, words)| words.iter().any(|word| message.contains(word)));
    match http_status(&message).map(|status| status.as_u16()) {
        Some(401 | 403) => Some(ErrorKind::Auth),
        Some(408 | 429 | 500..=599) => Some(ErrorKind::Registry),
        // It would be answered the same again.
        Some(400..=499) => None,
        _ => by_words().map(|(kind, _)| *kind),
    }
}

/// A status with its phrase, as in `unexpected HTTP status: 503 Service Unavailable`; of a message in lower case.
fn http_status(message: &str) -> Option<StatusCode> {
    let numbers = message.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| &message[at..]);
    let mut statuses = numbers.filter_map(|text| Some((StatusCode::from_bytes(text.get(..3)?.as_bytes()).ok()?, text)));
    statuses.find_map(|(status, text)| {
        let phrase = status.canonical_reason()?.to_ascii_lowercase();
        text[3..].trim_start().starts_with(&phrase).then_some(status)
    })
}

/// `… exit code: 3` at the end of a line, and what follows it: both `executor failed running […]` of BuildKit 0.8 and
/// `process "…" did not complete successfully` of later ones have it, the last with `: cannot allocate memory`.
pub(in crate::engine) fn exit_code(message: &str) -> Option<(i32, &str)> {
    let (_, rest) = message.lines().find_map(|line| line.rsplit_once("exit code: "))?;
    let (digits, why) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
    let is_end = why.trim().is_empty() || why.starts_with(": ");
    digits.parse().ok().filter(|_| is_end).map(|code| (code, why))
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

/// One line of at most 1,000 characters.
pub(in crate::engine) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Writes one line to the log in one piece, so that lines of two writers do not mix.
pub(in crate::engine) fn say(log: &dyn LogSink, line: &str) {
    log.write(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests;
