//! A failure names what was looked for, and where, with either builder.

use image_factory::model::Builder;

use super::*;

on_each_engine!(a_failure_names_what_was_looked_for, a_step_that_fails_is_shown_with_its_last_line,);
on_docker!(an_old_frontend_is_named_with_what_to_do);

const BASE: &str = "FROM image-factory-busybox:1\n";

fn bench(docker: Docker, builder: Builder) -> Bench {
    let mut bench = Bench::new(docker, "explain");
    bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(builder);
    bench
}

async fn error(bench: &Bench, dockerfile: &str) -> EngineError {
    bench.write("Dockerfile", dockerfile);
    bench.commit();
    bench.try_build(&Log::default()).await.unwrap_err()
}

async fn a_failure_names_what_was_looked_for(docker: Docker) {
    let registry = harness::Registry::open().await;
    let (there, closed) = (registry.address(), harness::port());
    for builder in docker.builders().iter().copied() {
        let bench = bench(docker, builder);
        bench.write(".dockerignore", "*.log\n!b.log\n");
        bench.write("a.log", "");
        bench.write("sub/Readme.md", "");
        for (dockerfile, message) in [
            (format!("{BASE}COPY missing.txt /\n"), "the commit has no missing.txt: commit the file".to_owned()),
            (
                format!("{BASE}COPY a.log /\n"),
                "the commit has a.log, but .dockerignore leaves it out by the pattern *.log".into(),
            ),
            (format!("{BASE}COPY sub/README.md /\n"), "the commit has no sub/README.md, but sub/Readme.md".into()),
            (
                format!("{}RUN true\n{BASE}COPY --from=base /nope /\n", BASE.replace('\n', " AS base\n")),
                "the stage or image base has no nope".into(),
            ),
            (
                format!("{BASE}ADD http://127.0.0.1:{closed}/x /\n"),
                format!("ADD cannot get http://127.0.0.1:{closed}/x (line 2): "),
            ),
            (
                format!("# comment\nFROM {there}/acme/none:v1\n"),
                format!("the base image {there}/acme/none:v1 (line 2) cannot be had from {there}: "),
            ),
        ] {
            let error = error(&bench, &dockerfile).await;
            assert_eq!(error.kind, ErrorKind::Build, "{error}");
            assert!(error.message.contains(&message), "{message:?} is not in {error}");
            assert!(!dockerfile.contains("COPY") || error.message.starts_with("step \"["), "{error}");
        }
        // Docker Hub may be out of reach, which is no mistake of the Dockerfile.
        let error = error(&bench, &format!("{}COPY --from=bsae /x /\n", BASE.replace('\n', " AS base\n"))).await;
        let then = match error.kind {
            ErrorKind::Registry => "Docker Hub cannot be asked for an image: ",
            _ => "no image: ",
        };
        let message = format!("--from=bsae in line 2 names no stage above it (the stages are base), and {then}");
        assert!(error.message.contains(&message), "{error}");
    }
}

async fn a_step_that_fails_is_shown_with_its_last_line(docker: Docker) {
    for builder in docker.builders().iter().copied() {
        let bench = bench(docker, builder);
        let noisy = error(&bench, &format!("{BASE}RUN printf 'one\\n\\nthe end' >&2; exit 3\n")).await;
        let silent = error(&bench, &format!("{BASE}RUN exit 4\n")).await;
        insta::allow_duplicates! {
            // The classic builder adds a step for each label.
            insta::assert_snapshot!(format!("{noisy}\n{silent}").replace("[2/4]", "[2/2]").replace("[2/3]", "[2/2]"), @r#"
            step "[2/2] RUN printf 'one\n\nthe end' >&2; exit 3" failed with exit code 3; its last line: the end
            step "[2/2] RUN exit 4" failed with exit code 4 and wrote nothing
            "#);
        }
        assert_eq!((noisy.exit_code, silent.exit_code), (Some(3), Some(4)));
    }
}

async fn an_old_frontend_is_named_with_what_to_do(docker: Docker) {
    let bench = bench(docker, Builder::Auto);
    let here_document = format!("{BASE}RUN <<EOF\necho hi\nEOF\n");
    if !docker.has(Feature::HereDocuments) {
        let error = error(&bench, &here_document).await;
        assert!(error.message.contains("this engine's BuildKit does not know a here-document in `RUN`"), "{error}");
        assert!(error.message.contains("put `# syntax=docker/dockerfile:1` into the first line"), "{error}");
    } else {
        bench.write("Dockerfile", here_document);
        bench.commit();
        bench.build().await;
    }
    let error = error(&bench, &format!("{BASE}COPY --parents Dockerfile /\n")).await;
    assert!(error.message.contains("this engine's BuildKit does not know the flag --parents"), "{error}");
}
