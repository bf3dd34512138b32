//! The texts of engines and registries that have a known cause, where the text is all that the engine gives.

use hyper::StatusCode;

use super::kind::ErrorKind;
use crate::engine::advice::MESSAGES;
use crate::model::Advice;

/// One cause of such messages.
pub(super) struct KnownText {
    pub kind: ErrorKind,
    /// Codes of distribution's errors (registry/api/errcode), as the engine writes them before the registry's words:
    /// in lower case, with spaces.
    codes: &'static [&'static str],
    /// Parts of such messages, in lower case.
    parts: &'static [&'static str],
    pub cause: &'static str,
    pub cure: &'static str,
}

impl KnownText {
    /// Returns true if a message in lower case has the cause.
    fn is_in(&self, message: &str) -> bool {
        self.codes.iter().any(|code| has_code(message, code)) || self.parts.iter().any(|part| message.contains(part))
    }

    fn rows(&self) -> impl Iterator<Item = Advice> {
        let row = |&text| Advice { code: self.kind.class().as_str(), text, cause: self.cause, cure: self.cure };
        self.codes.iter().chain(self.parts).map(row)
    }
}

/// The file systems of the engine: the texts that Go has for ENOSPC, EDQUOT and EIO.
const FULL: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &["no space left on device", "disk quota exceeded", "input/output error"],
    cause: "The engine cannot write to its own disk.",
    cure: "make room on the engine's disk, or replace the disk if it is broken; the job is tried again",
};

/// The engine's network for steps: libnetwork, and runc's text for it.
const NO_NETWORK: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &[
        "failed to create endpoint",
        "network bridge not found",
        "failed to set up container networking",
        "no available ipv4 addresses",
        "non-overlapping ipv4 address pool",
    ],
    cause: "The engine cannot give a step its network.",
    cure: "read the engine's own log, and restart the engine if it lasts; the job is tried again",
};

/// distribution, containerd's docker resolver and docker's registry client.
const LOGIN: KnownText = KnownText {
    kind: ErrorKind::Login,
    codes: &[],
    parts: &[
        "unauthorized",
        "no basic auth credentials",
        "authentication required",
        "incorrect username or password",
        "unauthenticated",
        "authorization token has expired",
    ],
    cause: "A registry does not accept the login of the dockercfg, or there is none for it.",
    cure: "store a login that the registry accepts: `image-factory secrets put dockercfg FILE`",
};

/// The same three.
const AUTH: KnownText = KnownText {
    kind: ErrorKind::Auth,
    codes: &["denied"],
    parts: &["access denied", "access to the resource is denied", "authorization failed"],
    cause: "A registry does not let the login of the dockercfg read or write the image.",
    cure: "correct the image's name, or store a login that may read or write it: `image-factory secrets put dockercfg \
           FILE`",
};

/// Trouble that may pass by itself: the same three, and Go's net and net/http.
const TRANSIENT: KnownText = KnownText {
    kind: ErrorKind::Registry,
    codes: &[],
    parts: &[
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
};

/// The same for a push, whose messages have no words of a Dockerfile in them: more of Go's and of proxies, and the codes of
/// distribution for an upload that its own cleaning, another replica or the network broke.
const BROKEN_UPLOAD: KnownText = KnownText {
    kind: ErrorKind::Registry,
    codes: &[
        "unavailable",
        "blob unknown",
        "blob upload unknown",
        "blob upload invalid",
        "manifest blob unknown",
        "digest invalid",
        "size invalid",
        "range invalid",
        "unknown: unknown error",
    ],
    parts: &[
        "eof",
        "timed out",
        "deadline exceeded",
        "request time-out",
        "broken pipe",
        "no such host",
        "server misbehaving",
        "network is unreachable",
        "no route to host",
        "closed network connection",
        "net/http:",
        "http2:",
        "stream error",
    ],
    cause: "An upload was cut off, by the network or by the registry.",
    cure: "check the network between the engine and the registry; the push is tried again",
};

/// gRPC between dockerd, BuildKit and containerd (codes 14 and 1), and BuildKit's own text for a lost session.
const PARTED: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &["code = unavailable", "code = canceled", "context canceled", "transport is closing", "no active session"],
    cause: "Parts of the engine lost the connection to each other, or to the daemon.",
    cure: "nothing if it is rare, because the job is tried again; otherwise read the engine's own log",
};

const REMOVED: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &["does not exist locally", "tag does not exist", "no such image", "image not known"],
    cause: "Somebody removed the image from the engine between the build and the push.",
    cure: "let nothing else remove images of the engine; the job is tried again",
};

/// BuildKit with containerd's image store before 0.29: an image that is unpacked has no lease of the layers below, and
/// containerd collects one that another build or a removal has just let go.
const LOST_LAYER: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &["parent snapshot"],
    cause: "Docker before 29.4 with containerd's image store lost a layer to its own cleaning while it stored the image \
            (https://github.com/moby/buildkit/issues/6521).",
    cure: "nothing if it is rare, because the job is tried again; Docker 29.4 has it mended",
};

/// The classic builder.
const LOST_IMAGE: KnownText = KnownText {
    kind: ErrorKind::Engine,
    codes: &[],
    parts: &["unable to find image"],
    cause: "Somebody removed an image or a layer from the engine while a build used it.",
    cure: "let nothing else remove images of the engine; the job is tried again",
};

/// TLS to a registry, in Go's words.
const TLS: &[KnownText] = &[
    KnownText {
        kind: ErrorKind::Setup,
        codes: &[],
        parts: &["x509:"],
        cause: "The engine does not trust the registry's certificate. For a base image the class is registry-auth.",
        cure: "renew the certificate, or put its authority into /etc/docker/certs.d/HOST:PORT/ca.crt on the engine's \
               machine",
    },
    KnownText {
        kind: ErrorKind::Setup,
        codes: &[],
        parts: &["server gave http response to https client", "does not look like a tls handshake"],
        cause: "The registry speaks no TLS, and the engine requires it. For a base image the class is registry-auth.",
        cure: "give the registry TLS, or list it in the engine's insecure-registries",
    },
];

/// The final words of registries about a push: distribution, Amazon ECR, Google Artifact Registry, Harbor, Quay, Nexus,
/// and proxies before them.
const FINAL: &[KnownText] = &[
    KnownText {
        kind: ErrorKind::Immutable,
        codes: &[],
        parts: &["immutable", "immutability", "cannot be overwritten", "does not allow updating"],
        cause: "The tag names another image, and the registry does not let the tag move.",
        cure: "delete the tag in the registry, let its tags move there, or build under another tag",
    },
    KnownText {
        kind: ErrorKind::Setup,
        codes: &[],
        parts: &["upper limit", "quota", "insufficient storage", "storage limit", "payment required"],
        cause: "The registry has no more room for this project.",
        cure: "make room in the registry, or raise its limit",
    },
    KnownText {
        kind: ErrorKind::Refused,
        codes: &["name unknown"],
        parts: &["does not exist in the registry", "repository name not known", "not found: project"],
        cause: "The registry wants a repository or project to exist before its first push.",
        cure: "create the repository in the registry, or correct the image's name",
    },
    KnownText {
        kind: ErrorKind::Refused,
        codes: &[],
        parts: &["too large", "http 413"],
        cause: "A layer is larger than the registry, or a proxy before it, takes.",
        cure: "raise the limit there (client_max_body_size in nginx), or make the layer smaller",
    },
    KnownText {
        kind: ErrorKind::Setup,
        codes: &["unsupported"],
        parts: &["method not allowed", "http 405", "read-only", "not implemented"],
        cause: "The registry takes no pushes: it is read-only, or a mirror of another one.",
        cure: "end the registry's read-only mode, or push to another registry (DOCKER_REPO_BASE)",
    },
    KnownText {
        kind: ErrorKind::Refused,
        codes: &["name invalid"],
        parts: &[],
        cause: "The registry does not take images of this name.",
        cure: "name the image as the registry wants it (DOCKER_REPO_BASE, IMAGE_NAME, or the job's image)",
    },
    KnownText {
        kind: ErrorKind::Refused,
        codes: &[],
        parts: &["http 404", "404 not found", "404 page not found"],
        cause: "No registry answers at this address, or it has no place for this image.",
        cure: "correct DOCKER_REPO_BASE or the image's name",
    },
];

/// Every other answer of a registry, in words that are not known here.
pub(super) const OTHER: Advice = Advice {
    code: "registry-auth",
    text: "the registry refuses the push: …",
    cause: "The registry's answer is final as far as is known, so the push is not tried again.",
    cure: "read what the registry says, and its log; then rebuild the job",
};

/// Returns the rows of docs/troubleshooting.md about engines.
pub fn advice() -> Vec<Advice> {
    let known = [&FULL, &NO_NETWORK, &LOGIN, &AUTH].into_iter().chain(TLS).chain(FINAL);
    let known = known.chain([&TRANSIENT, &BROKEN_UPLOAD, &PARTED, &REMOVED, &LOST_LAYER, &LOST_IMAGE]);
    MESSAGES.iter().copied().chain([OTHER]).chain(known.flat_map(KnownText::rows)).collect()
}

/// Returns the cause of a message about a build. The first row with a part in the message decides, unless the message
/// has an HTTP status.
pub(super) fn of_build(message: &str) -> Option<&'static KnownText> {
    let message = message.to_ascii_lowercase();
    match http_status(&message) {
        Some(401) => Some(&LOGIN),
        Some(403) => Some(&AUTH),
        Some(408 | 425 | 429 | 500..=599) => Some(&TRANSIENT),
        // Another attempt would get the same answer.
        Some(400..=499) => None,
        _ => {
            let rows = [&FULL, &LOST_LAYER, &LOST_IMAGE, &NO_NETWORK, &LOGIN, &AUTH].into_iter();
            let rows = rows.chain(TLS).chain([&TRANSIENT, &PARTED]);
            first(rows, &message)
        }
    }
}

/// Returns the cause of a message about a push: of trouble that another push may mend, or of an answer that is final in
/// known words.
pub(super) fn of_push(message: &str) -> Option<&'static KnownText> {
    let message = message.to_ascii_lowercase();
    // Docker 26.1 writes this alone for a 408 and a 425 without a body.
    if message.trim() == "unknown:" {
        return Some(&TRANSIENT);
    }
    match http_status(&message) {
        Some(408 | 425 | 429 | 500..=599) => return Some(&TRANSIENT),
        Some(status) => {
            let by_status = [(401, &LOGIN), (403, &AUTH)].into_iter().find(|(code, _)| *code == status);
            let login = by_status.map(|(_, row)| row).or_else(|| first([&LOGIN, &AUTH], &message));
            return first(FINAL, &message).or(login);
        }
        None => {}
    }
    let rows = [&REMOVED, &FULL].into_iter().chain(TLS).chain(FINAL).chain([
        &LOGIN,
        &AUTH,
        &TRANSIENT,
        &PARTED,
        &BROKEN_UPLOAD,
    ]);
    first(rows, &message)
}

fn first(rows: impl IntoIterator<Item = &'static KnownText>, message: &str) -> Option<&'static KnownText> {
    rows.into_iter().find(|row| row.is_in(message))
}

/// Returns true for `code: words`, for `code` alone, and for either behind the words of a program between. With
/// containerd's image store there is no colon behind the code, and a line's end where the words are the code's own.
fn has_code(message: &str, code: &str) -> bool {
    message.match_indices(code).any(|(at, _)| {
        let (before, after) = (&message[..at], &message[at + code.len()..]);
        let is_end = after.is_empty() || after.starts_with(": ");
        let is_containerds = before.ends_with("error from registry: ") && after.starts_with([' ', '\n']);
        (before.is_empty() || before.ends_with(": ")) && is_end || is_containerds
    })
}

/// Finds a status in a message in lower case: with its phrase, as in `unexpected http status: 503 service unavailable`,
/// or in docker's words for a body that is no JSON, `error parsing http 413 response body`.
fn http_status(message: &str) -> Option<u16> {
    let numbers = message.match_indices(|c: char| c.is_ascii_digit()).map(|(at, _)| message.split_at(at));
    let mut statuses = numbers.filter_map(|(before, text)| {
        Some((before, StatusCode::from_bytes(text.get(..3)?.as_bytes()).ok()?, &text[3..]))
    });
    statuses.find_map(|(before, status, after)| {
        let phrase = status.canonical_reason().unwrap_or("none").to_ascii_lowercase();
        let has_phrase = after.trim_start().starts_with(&phrase);
        let is_docker = before.ends_with("error parsing http ") && after.starts_with(" response body");
        (has_phrase || is_docker).then(|| status.as_u16())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The messages without a name are those of Docker 20.10 and 26.1 for a registry that answered so.
    #[test]
    fn a_push_is_tried_again_only_after_what_may_pass() {
        use ErrorKind::{Auth, Engine, Immutable, Login, Refused, Registry, Setup};
        for (message, kind) in [
            ("unauthorized: authentication required", Some(Login)),
            ("no basic auth credentials", Some(Login)),
            ("received unexpected HTTP status: 401 Unauthorized", Some(Login)),
            ("denied: requested access to the resource is denied", Some(Auth)),
            (
                "denied: Permission \"artifactregistry.repositories.uploadArtifacts\" denied on resource \"x\"",
                Some(Auth),
            ),
            ("denied: Your authorization token has expired. Reauthenticate and try again.", Some(Login)),
            ("error parsing HTTP 403 response body: unexpected end of JSON input: \"\"", Some(Auth)),
            ("received unexpected HTTP status: 403 Forbidden", Some(Auth)),
            ("writing blob: initiating layer upload to /v2/a/b in q.io: denied: no", Some(Auth)),
            ("received unexpected HTTP status: 503 Service Unavailable", Some(Registry)),
            (
                "unexpected status from PUT request to https://q.io/v2/a/manifests/v1: 500 Internal Server Error",
                Some(Registry),
            ),
            ("error parsing HTTP 408 response body: unexpected end of JSON input: \"\"", Some(Registry)),
            ("error parsing HTTP 425 response body: unexpected end of JSON input: \"\"", Some(Registry)),
            (
                "error parsing HTTP 429 response body: invalid character 'T' looking for beginning of value",
                Some(Registry),
            ),
            ("unknown: ", Some(Registry)),
            ("unknown: <html><body><h1>408 Request Time-out</h1></body></html>", Some(Registry)),
            ("toomanyrequests: slow down", Some(Registry)),
            ("blob upload unknown", Some(Registry)),
            ("manifest blob unknown: blob unknown to registry", Some(Registry)),
            ("unavailable: service unavailable", Some(Registry)),
            ("EOF", Some(Registry)),
            ("Put \"http://127.0.0.1:1/v2/a/manifests/v1\": EOF", Some(Registry)),
            ("Put \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", Some(Registry)),
            ("Get \"https://q.io/v2/\": net/http: request canceled (Client.Timeout exceeded)", Some(Registry)),
            ("Get \"https://q.io/v2/\": x509: certificate signed by unknown authority", Some(Setup)),
            (
                "failed to do request: Head \"https://q.io/\": http: server gave HTTP response to HTTPS client",
                Some(Setup),
            ),
            (
                "tag invalid: The image tag 'v1' already exists in the 'a' repository and cannot be overwritten because \
              the repository is immutable.",
                Some(Immutable),
            ),
            ("unknown: Failed to process request due to 'x:v1' configured as immutable.", Some(Immutable)),
            ("manifest invalid: cannot update tag v1. The repository has enabled tag immutability", Some(Immutable)),
            (
                "denied: adding 151.7 MiB of storage resource, which when updated to current usage of 100.0 GiB will \
              exceed the configured upper limit of 100.0 GiB.",
                Some(Setup),
            ),
            ("denied: payment required", Some(Setup)),
            ("name unknown: The repository with name 'a' does not exist in the registry with id '123'", Some(Refused)),
            ("unauthorized: project acme not found: project acme not found", Some(Refused)),
            ("unknown: <html><head><title>413 Request Entity Too Large</title></head></html>", Some(Refused)),
            (
                "error parsing HTTP 413 response body: invalid character '<' looking for beginning of value",
                Some(Refused),
            ),
            ("unsupported", Some(Setup)),
            ("error from registry: unsupported\nunsupported", Some(Setup)),
            ("unknown: Method Not Allowed", Some(Setup)),
            (
                "error parsing HTTP 404 response body: invalid character '<' looking for beginning of value",
                Some(Refused),
            ),
            ("error parsing HTTP 400 response body: unexpected end of JSON input: \"\"", None),
            ("manifest invalid: manifest invalid", None),
            ("what no registry said before", None),
            ("An image does not exist locally with the tag: 127.0.0.1:1/a", Some(Engine)),
            ("write /var/lib/docker/tmp/x: no space left on device", Some(Engine)),
        ] {
            assert_eq!(of_push(message).map(|row| row.kind), kind, "{message}");
        }
    }
}
