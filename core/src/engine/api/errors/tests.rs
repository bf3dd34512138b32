use super::super::texts::advice;
use super::*;
use crate::model::FailureClass;

fn report(name: &str) -> Option<StepReport> {
    Some(StepReport { name: name.into(), last_line: Some("the last line".into()) })
}

#[test]
fn a_failed_step_gives_its_exit_code_and_text() {
    for message in [
        "failed to solve with frontend dockerfile.v0: failed to build LLB: executor failed running [/bin/sh -c exit 3]: exit code: 3",
        "failed to solve: process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3",
        "building at STEP \"RUN exit 3\": while running runtime: exit status 3\n",
    ] {
        let error = EngineError::from_build(message, report("[2/2] RUN exit 3"));
        assert_eq!((error.kind, error.exit_code), (ErrorKind::Build, Some(3)));
        insta::allow_duplicates! {
            insta::assert_snapshot!(error, @r#"step "[2/2] RUN exit 3" failed with exit code 3; its last line: the last line"#);
        }
    }
}

#[test]
fn what_podman_writes_around_the_words_of_others_is_left_out() {
    let words = |message| EngineError::from_build(message, None).message;
    let messages = [
        words(
            "building at STEP \"NONSENSE \": Build error: Unknown instruction: \"NONSENSE\" &imagebuilder.Step{Args:[]string{\"\"}}",
        ),
        words(
            "creating build container: unable to copy from source docker://q.io:5000/a:v1: initializing source \
             docker://q.io:5000/a:v1: reading manifest v1 in q.io:5000/a: manifest unknown",
        ),
        words("no contents in \"/var/tmp/libpod_builder1/build/Dockerfile\""),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    Build error: Unknown instruction: "NONSENSE"
    reading manifest v1 in q.io:5000/a: manifest unknown
    the Dockerfile is empty
    "#);
}

#[test]
fn a_killed_step_says_who_killed_it() {
    let message = "process \"/bin/sh -c make\" did not complete successfully: exit code: 137: cannot allocate memory";
    let error = EngineError::from_build(message, report("RUN make"));
    assert_eq!((error.kind, error.exit_code), (ErrorKind::Memory, Some(137)));
    let killed = |killer, kind| {
        let error = EngineError::from_build("executor failed running [make]: exit code: 137", None).killed(killer);
        assert_eq!((error.kind, error.exit_code), (kind, Some(137)));
        error.message
    };
    let messages = [
        killed(KilledBy::Kernel, ErrorKind::Memory),
        killed(KilledBy::Unknown, ErrorKind::Memory),
        killed(KilledBy::Other, ErrorKind::Build),
    ];
    insta::assert_snapshot!(messages.join("\n"), @r#"
    step "executor failed running [make]: exit code: 137" failed with exit code 137 and wrote nothing; it was killed for its memory
    step "executor failed running [make]: exit code: 137" failed with exit code 137 and wrote nothing; it was killed, most likely because no memory was left for it
    step "executor failed running [make]: exit code: 137" failed with exit code 137 and wrote nothing; something in it was killed, though not for its memory
    "#);
}

/// The messages are those of Docker 20.10 and 26.1, with BuildKit and with the classic builder.
#[test]
fn failures_of_a_build_are_classified() {
    use ErrorKind::{Auth, Build, Engine, Registry};
    for (message, kind) in [
        ("dockerfile parse error line 2: unknown instruction: FOO", Build),
        ("localhost:5000/nope:latest: not found", Build),
        ("failed to prepare extraction snapshot \"a\": parent snapshot sha256:b does not exist: not found", Engine),
        ("unable to find image 'sha256:ab'", Engine),
        ("manifest for 127.0.0.1:5000/a:v1 not found: manifest unknown: manifest unknown", Build),
        ("failed to do request: Head https://q.io/v2/: dial tcp: lookup q.io: no such host", Registry),
        ("Get \"http://127.0.0.1:1/v2/\": dial tcp 127.0.0.1:1: connect: connection refused", Registry),
        ("unexpected status from HEAD request to http://q.io/v2/a/manifests/v1: 503 Service Unavailable", Registry),
        ("failed to load cache key: unexpected status code [manifests v1]: 429 Too Many Requests", Registry),
        ("toomanyrequests: You have reached your pull rate limit.", Registry),
        ("failed to copy: read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer", Registry),
        ("rpc error: code = Unavailable desc = 502 Bad Gateway", Registry),
        ("unexpected status from HEAD request to http://q.io/v2/a/manifests/v1: 401 Unauthorized", Auth),
        ("unexpected status code [manifests v1]: 403 Forbidden", Auth),
        ("unexpected status from HEAD request to http://q.io/v2/a/manifests/v1: 400 Bad Request", Build),
        ("pulling from host 127.0.0.1:1 failed with status code [manifests v1]: 401 Unauthorized", Auth),
        ("pulling from host 127.0.0.1:1 failed with status code [manifests v1]: 503 Service Unavailable", Registry),
        ("no basic auth credentials", Auth),
        (
            "q.io/a:v1: pull access denied, repository does not exist or may require authorization: authorization failed",
            Auth,
        ),
        ("pull access denied for q.io/a, repository does not exist or may require 'docker login': denied", Auth),
        ("pull access denied for localhost/a, repository does not exist or may require 'docker login'", Auth),
        (
            "docker.io/library/pythn:3: pull access denied, repository does not exist or may require authorization",
            Build,
        ),
        ("pull access denied for acme/pythn, repository does not exist or may require 'docker login': denied", Build),
        ("pull access denied for pythn, repository does not exist or may require 'docker login': denied", Build),
        ("write /var/lib/x: no space left on device", Engine),
        ("failed to do request: write /var/lib/x: no space left on device", Engine),
        ("rpc error: code = Unavailable desc = transport is closing", Engine),
        ("no active session for x: context deadline exceeded", Engine),
        ("failed to compute cache key: \"/503\" not found: not found", Build),
        ("dockerfile parse error line 3: unknown instruction: EOF", Build),
        (
            "process \"/bin/sh -c true\" did not complete successfully: failed to create endpoint a on network bridge: b",
            Engine,
        ),
        ("process \"/bin/sh -c true\" did not complete successfully: network bridge not found", Engine),
        // A step may print anything. Its exit code shows that the fault is the user's.
        ("executor failed running [curl dial tcp]: exit code: 7", Build),
        ("process \"echo exit code: 3\" did not complete successfully: exit code: 1", Build),
    ] {
        let error = EngineError::from_build(message, None);
        assert_eq!(error.kind, kind, "{message}");
        let has_advice = message.contains("pull access denied") || kind == Auth;
        assert_eq!(error.message.contains("there is no such image"), has_advice, "{error}");
    }
}

#[test]
fn final_words_of_a_registry_come_with_what_to_do() {
    let messages = [
        "name unknown: The repository with name 'acme/x' does not exist in the registry with id '123456789012'",
        "error parsing HTTP 413 response body: invalid character '<' looking for beginning of value: \
         \"<html><head><title>413 Request Entity Too Large</title></head></html>\"",
        "unknown: <html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1></body></html>",
        "manifest invalid: no such schema",
        "received unexpected HTTP status: 503 Service Unavailable",
    ];
    insta::assert_snapshot!(messages.map(|message| EngineError::from_push(message).message).join("\n"), @r"
    name unknown: The repository with name 'acme/x' does not exist in the registry with id '123456789012'; create the repository in the registry, or correct the image's name
    HTTP 413 Request Entity Too Large; raise the limit there (client_max_body_size in nginx), or make the layer smaller
    unknown: 404 Not Found; correct DOCKER_REPO_BASE or the image's name
    the registry refuses the push: manifest invalid: no such schema: read what the registry says, and its log; then rebuild the job
    received unexpected HTTP status: 503 Service Unavailable
    ");
}

#[test]
fn podman_reports_a_registrys_words_as_the_status_of_the_push() {
    let refused = |message| {
        let error = EngineError { status: Some(StatusCode::INTERNAL_SERVER_ERROR), ..EngineError::engine(message) };
        let refused = error.classify_push_refusal();
        format!("{:?}: {}", refused.kind, refused.message)
    };
    let messages = [
        "trying to reuse blob sha256:ab in q.io: authentication required",
        "writing manifest: uploading manifest v1 to q.io:5000/a/b: received unexpected HTTP status: 503 Service Unavailable",
        "writing manifest: uploading manifest v1 to q.io/a/b: StatusCode: 413, \"<html><title>413 Request Entity Too \
         Large</title></html>\"",
        "Uploading manifest failed, attempted the following formats: application/vnd.docker.distribution.manifest.v2+json\
         (writing manifest: uploading manifest v1 to q.io/a/b: manifest invalid: nobody knows why), application/vnd.oci.\
         image.manifest.v1+json(writing manifest: uploading manifest v1 to q.io/a/b: manifest invalid: nobody knows why)",
        "something broke",
    ];
    insta::assert_snapshot!(messages.map(refused).join("\n"), @r"
    Login: trying to reuse blob sha256:ab in q.io: authentication required
    Registry: received unexpected HTTP status: 503 Service Unavailable
    Refused: HTTP 413 Request Entity Too Large; raise the limit there (client_max_body_size in nginx), or make the layer smaller
    Refused: the registry refuses the push: manifest invalid: nobody knows why: read what the registry says, and its log; then rebuild the job
    Engine: something broke
    ");
}

#[test]
fn a_refused_request_is_the_users_fault_and_an_internal_error_the_engines() {
    let refusal = |status, message: &str| EngineError { status: Some(status), ..EngineError::engine(message) };
    let kind = |error: EngineError| error.classify_refusal().kind;
    assert_eq!(kind(refusal(StatusCode::BAD_REQUEST, "\"x\" is an invalid platform")), ErrorKind::Build);
    assert_eq!(kind(refusal(StatusCode::INTERNAL_SERVER_ERROR, "something broke")), ErrorKind::Engine);
    assert_eq!(kind(EngineError::broken(&std::io::Error::other("gone"))), ErrorKind::Engine);
}

#[test]
fn every_row_of_advice_has_a_failure_class_and_a_full_text() {
    let rows = advice();
    for row in &rows {
        assert!(row.code.parse::<FailureClass>().is_ok(), "{row:?}");
        assert!(![row.text, row.cause, row.cure].iter().any(|part| part.is_empty()), "{row:?}");
    }
    assert!(rows.len() > 40);
}

#[test]
fn messages_are_one_line_without_wrapping() {
    let error = EngineError::from_build("failed to solve: rpc error: code = Unknown desc = a\n  b", None);
    assert_eq!(error.message, "a b");
}
