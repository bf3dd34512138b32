use super::super::api::errors::StepReport;
use super::*;

const DOCKERFILE: &str = "FROM $BASE AS build\nRUN make\nFROM q.io/acme/base:v1\nCOPY --from=bulid /a /b\n\
                          ADD https://example.com/x /x\n";

fn failure(step: &str, message: &str) -> BuildFailure {
    let step_report = StepReport { name: step.into(), last_line: None };
    let error = EngineError::from_build(message, Some(step_report));
    BuildFailure { all: instructions(DOCKERFILE.as_bytes()), step: step.into(), error }
}

/// The messages are those of BuildKit 0.8 and 0.13, of both classic builders, and of Podman.
#[test]
fn an_image_is_named_with_its_line_and_registry() {
    let cases = [
        ("[internal] load metadata for q.io/acme/base:v1", "q.io/acme/base:v1: not found"),
        (
            "[internal] load metadata for docker.io/library/pythn:3",
            "pythn:3: failed to resolve source metadata for docker.io/library/pythn:3: docker.io/library/pythn:3: pull \
             access denied, repository does not exist or may require authorization",
        ),
        ("Step 3/5 : FROM q.io/acme/base:v1", "Get \"https://q.io/v2/\": dial tcp: lookup q.io: no such host"),
        ("FROM docker.io/library/bulid:latest", "failed to load cache key: docker.io/library/bulid:latest: not found"),
        (
            "Step 4/5 : COPY --from=bulid /a /b",
            "invalid from flag value bulid: pull access denied for bulid, repository \
          does not exist or may require 'docker login': denied: requested access to the resource is denied",
        ),
        ("Step 4/5 : COPY --from=bulid /a /b", "COPY --from=bulid: no stage or image found with that name"),
    ];
    let seen = cases.map(|(step, message)| match failure(step, message).image() {
        Some((kind, message)) => format!("{kind:?}: {message}"),
        None => format!("not explained: {message}"),
    });
    insta::assert_snapshot!(seen.join("\n"), @r#"
    Build: the base image q.io/acme/base:v1 (line 3) cannot be had from q.io: not found: correct the name after FROM, or push that image first
    Build: the base image docker.io/library/pythn:3 (line 1) cannot be had from docker.io: pull access denied, repository does not exist or may require authorization; there is no such image on Docker Hub, or it is private and the dockercfg has no login that may read it
    Registry: the base image q.io/acme/base:v1 (line 3) cannot be had from q.io: Get "https://q.io/v2/": dial tcp: lookup q.io: no such host
    Build: --from=bulid in line 4 names no stage above it (the stages are build), and no image: not found: correct the name, or give it to a stage by FROM … AS
    Build: --from=bulid in line 4 names no stage above it (the stages are build), and no image: pull access denied for bulid, repository does not exist or may require 'docker login': denied: requested access to the resource is denied; there is no such image on Docker Hub, or it is private and the dockercfg has no login that may read it: correct the name, or give it to a stage by FROM … AS
    Build: --from=bulid in line 4 names no stage above it (the stages are build), and no image: no stage or image found with that name: correct the name, or give it to a stage by FROM … AS
    "#);
}

#[test]
fn an_address_of_add_is_no_registry() {
    let refused = "Get \"https://example.com/x\": dial tcp 127.0.0.1:1: connect: connection refused";
    for (step, message) in [
        ("https://example.com/x", format!("failed to load cache key: {refused}")),
        ("[stage-1 3/3] ADD https://example.com/x /x", "failed to load cache key: invalid response status 404".into()),
        ("Step 5/5 : ADD https://example.com/x /x", format!("ADD failed: {refused}")),
    ] {
        let (kind, message) = failure(step, &message).url().unwrap();
        assert_eq!(kind, ErrorKind::Build, "{message}");
        assert!(message.starts_with("ADD cannot get https://example.com/x (line 5): "), "{message}");
    }
    assert!(failure("[1/2] RUN curl https://example.com/x", "dial tcp").url().is_none());
}

#[test]
fn the_missing_path_is_read() {
    for (message, path) in [
        ("failed to compute cache key: \"/missing.txt\" not found: not found", "/missing.txt"),
        ("failed to compute cache key: failed to calculate checksum of ref a::b: \"/a b\": not found", "/a b"),
        (
            "failed to compute cache key: failed to walk /var/lib/docker/tmp/buildkit-mount1/sub: lstat \
             /var/lib/docker/tmp/buildkit-mount1/sub: no such file or directory",
            "sub",
        ),
        (
            "COPY failed: file not found in build context or excluded by .dockerignore: stat a.log: file does not exist",
            "a.log",
        ),
        ("COPY failed: stat nope: file does not exist", "nope"),
        ("COPY failed: stat /var/lib/docker/tmp/docker-builder1/x/y: no such file or directory", "x/y"),
    ] {
        assert_eq!(missing_path(message).as_deref(), Some(path), "{message}");
    }
    assert_eq!(missing_path("q.io/acme/base:v1: not found"), None);
}

#[test]
fn an_old_frontend_is_named_with_what_to_do() {
    let old = |dockerfile: &str, message: &str| {
        let all = instructions(dockerfile.as_bytes());
        let error = EngineError::from_build(message, None);
        BuildFailure { all, step: String::new(), error }.frontend(dockerfile.as_bytes(), Builder::Buildkit)
    };
    let here = "FROM a\nRUN <<EOF\necho hi\nEOF\n";
    let messages = [
        old(here, "dockerfile parse error line 3: unknown instruction: ECHO"),
        old("FROM a\nCOPY --link a /\n", "dockerfile parse error line 2: Unknown flag: link"),
        old(
            &format!("# syntax=docker/dockerfile:1.2\n{here}"),
            "dockerfile parse error line 4: unknown instruction: ECHO",
        ),
        old("FROM a\nNONSENSE\n", "dockerfile parse error line 2: unknown instruction: NONSENSE"),
    ];
    insta::assert_snapshot!(messages.map(|message| message.unwrap_or("not explained".into())).join("\n"), @r"
    dockerfile parse error line 3: unknown instruction: ECHO; this engine's BuildKit does not know a here-document in `RUN`: put `# syntax=docker/dockerfile:1` into the first line, or use a newer engine
    dockerfile parse error line 2: Unknown flag: link; this engine's BuildKit does not know the flag --link: put `# syntax=docker/dockerfile:1` into the first line, or use a newer engine
    dockerfile parse error line 4: unknown instruction: ECHO; the frontend of the line `# syntax=` does not know a here-document in `RUN`: name a newer one: `# syntax=docker/dockerfile:1`
    not explained
    ");
}

#[test]
fn features_of_buildkit_are_named() {
    for (dockerfile, named) in [
        ("FROM a\nRUN --mount=type=cache,target=/x make\n", Some("`RUN --mount`")),
        ("# syntax=docker/dockerfile:1\nFROM a\n copy --chown=1 --chmod=755 a /\n", Some("`COPY --chmod`")),
        ("FROM a\nADD --checksum=sha256:0 http://x /\n", Some("`ADD --checksum`")),
        ("#Syntax = acme/frontend\nFROM a\nINCLUDE b\n", Some("`# syntax=`")),
        (
            "# the syntax = of\nFROM --platform=x a AS b\nCOPY --from=b --chown=1:1 a /\nRUN cat <<<x; ls --all 1 << 2\n",
            None,
        ),
        ("", None),
    ] {
        let text = dockerfile.as_bytes();
        assert_eq!(buildkit_feature(&instructions(text), text).as_deref(), named, "{dockerfile}");
    }
}

#[test]
fn a_here_document_is_distinguished_from_a_shells() {
    for (dockerfile, named) in [
        ("FROM a\nRUN <<EOF\necho\nEOF\n", Some("a here-document in `RUN`")),
        ("FROM a\nRUN python3 <<EOF > /x\nprint(1)\nEOF\n", Some("a here-document in `RUN`")),
        ("FROM a\nCOPY <<-\"END\" /x\n\tEND\n", Some("a here-document in `COPY`")),
        ("FROM a\nRUN cat <<<x; ls --all 1 << 2; true <<EOF\nENV EOF=1\n", None),
        ("FROM a\nENV A=<<EOF\nRUN true\nEOF\n", None),
        ("", None),
    ] {
        assert_eq!(here_document(&instructions(dockerfile.as_bytes())).as_deref(), named, "{dockerfile}");
    }
}
