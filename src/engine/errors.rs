use crate::model::LogSink;

/// Whose fault a failure is, and so what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile, or a step of it: the user's.
    Build,
    /// A registry does not accept us: final at once.
    Auth,
    /// A registry is in trouble: worth another push.
    Registry,
    /// The engine is away, or in trouble.
    Engine,
}

/// Why the engine did not do what it was asked; the message is one line.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    pub kind: ErrorKind,
    pub message: String,
    /// That of the `RUN` step that failed.
    pub exit_code: Option<i32>,
}

impl EngineError {
    pub(super) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), exit_code: None }
    }

    pub(super) fn engine(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Engine, message)
    }

    /// The engine's connection broke before its answer was complete.
    pub(super) fn broken(source: &dyn std::error::Error) -> Self {
        Self::engine(format!("the connection to the Docker engine broke: {}", chain(source)))
    }

    /// From the engine's message about a push.
    pub(super) fn of_push(message: &str) -> Self {
        let kind = if speaks_of(message, AUTH) {
            ErrorKind::Auth
        } else if speaks_of(message, GONE) {
            ErrorKind::Engine
        } else {
            ErrorKind::Registry
        };
        Self::new(kind, one_line(message))
    }

    pub(super) fn of_step(step: &str, code: i32) -> Self {
        let message = format!("step {:?} failed with exit code {code}: its output is in the log", one_line(step));
        Self { kind: ErrorKind::Build, message, exit_code: Some(code) }
    }

    /// From the engine's message about a build, and the step that it names.
    pub(super) fn of_build(message: &str, step: Option<&str>) -> Self {
        if let Some(code) = exit_code(message) {
            return Self::of_step(step.unwrap_or(message), code);
        }
        let kind = if speaks_of(message, AUTH) {
            ErrorKind::Auth
        } else if speaks_of(message, REGISTRY) {
            ErrorKind::Registry
        } else if speaks_of(message, ENGINE) {
            ErrorKind::Engine
        } else {
            ErrorKind::Build
        };
        Self::new(kind, one_line(without_wrapping(message)))
    }
}

// The wording of distribution's error codes and of containerd's and dockerd's clients.
const AUTH: &[&str] = &[
    "unauthorized",
    "no basic auth credentials",
    "denied:",
    "access denied",
    "access to the resource is denied",
    "authentication required",
    "authorization failed",
    "incorrect username or password",
    "401 unauthorized",
    "403 forbidden",
];
const REGISTRY: &[&str] = &[
    "failed to do request",
    "dial tcp",
    "i/o timeout",
    "tls handshake",
    "toomanyrequests",
    "429 too many",
    "unexpected status code",
    "unexpected status from",
    "unexpected http status",
    "500 internal",
    "502 bad gateway",
    "503 service",
    "504 gateway",
];
/// Somebody removed the image between build and push.
const GONE: &[&str] = &["does not exist locally", "tag does not exist", "no such image"];
const ENGINE: &[&str] =
    &["no space left on device", "code = unavailable", "code = canceled", "context canceled", "transport is closing"];

fn speaks_of(message: &str, words: &[&str]) -> bool {
    let message = message.to_ascii_lowercase();
    words.iter().any(|word| message.contains(word))
}

/// `… exit code: 3` at the end of a line: both `executor failed running […]` of BuildKit 0.8 and
/// `process "…" did not complete successfully` of later ones have it.
pub(super) fn exit_code(message: &str) -> Option<i32> {
    let digits = message.lines().find_map(|line| line.rsplit_once("exit code: "))?.1;
    digits.trim().parse().ok()
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
pub(super) fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(1000) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// An error and what caused it, in one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

/// Writes one line to the log in one piece, so that lines of two writers do not mix.
pub(super) fn say(log: &dyn LogSink, line: &str) {
    log.write(format!("{line}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_gives_its_exit_code_and_text() {
        for message in [
            "failed to solve with frontend dockerfile.v0: failed to build LLB: executor failed running [/bin/sh -c exit 3]: exit code: 3",
            "failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
        ] {
            let error = EngineError::of_build(message, Some("[2/2] RUN exit 3"));
            assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, Some(3)));
            assert!(error.message.contains("[2/2] RUN exit 3"), "{error}");
        }
    }

    #[test]
    fn failures_of_a_build_are_told_apart() {
        let kind = |message| EngineError::of_build(message, None).kind;
        assert_eq!(kind("dockerfile parse error line 2: unknown instruction: FOO"), ErrorKind::Build);
        assert_eq!(kind("localhost:5000/nope:latest: not found"), ErrorKind::Build);
        assert_eq!(
            kind("failed to do request: Head https://q.io/v2/: dial tcp: lookup q.io: no such host"),
            ErrorKind::Registry
        );
        assert_eq!(
            kind("pull access denied, repository does not exist or may require authorization: authorization failed"),
            ErrorKind::Auth
        );
        assert_eq!(kind("write /var/lib/x: no space left on device"), ErrorKind::Engine);
        // A step may print anything; its exit code says that it is the user's.
        assert_eq!(kind("executor failed running [curl dial tcp]: exit code: 7"), ErrorKind::Build);
    }

    #[test]
    fn failures_of_a_push_are_final_or_worth_another_try() {
        for message in [
            "unauthorized: authentication required",
            "no basic auth credentials",
            "denied: requested access to the resource is denied",
        ] {
            assert_eq!(EngineError::of_push(message).kind, ErrorKind::Auth, "{message}");
        }
        for message in [
            "received unexpected HTTP status: 503 Service Unavailable",
            "EOF",
            "toomanyrequests: slow down",
            "Put \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused",
        ] {
            assert_eq!(EngineError::of_push(message).kind, ErrorKind::Registry, "{message}");
        }
        let gone = "An image does not exist locally with the tag: 127.0.0.1:1/a";
        assert_eq!(EngineError::of_push(gone).kind, ErrorKind::Engine);
    }

    #[test]
    fn messages_are_one_line_without_wrapping() {
        let error = EngineError::of_build("failed to solve: rpc error: code = Unknown desc = a\n  b", None);
        assert_eq!(error.message, "a b");
    }
}
