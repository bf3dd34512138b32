use super::super::yaml;
use super::*;

/// Rewrites a project of the repository that may push below `q.io/acme`.
fn rewrite(config: &str) -> Result<Project, String> {
    let rewriting = Rewriting {
        job: "019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1".parse().unwrap(),
        may_push: &|image| image.canonical().starts_with("q.io/acme/"),
        labels: &|image| vec![("name".into(), image.name().into())],
    };
    rewriting.apply(yaml::read(config).unwrap())
}

/// As compose 1.29 prints it.
const OF_ONE: &str = r#"
networks:
  back: {name: fixed}
  outside: {external: true, name: outside}
services:
  db:
    container_name: fixed
    image: postgres
    ports:
    - published: 8080
      target: 80
    - 127.0.0.1:9000:9000/udp
    volumes:
    - /var/lib/docker/volumes/x/_data/conf/a.conf:/etc/a.conf:rw
    - cache:/cache:rw
  tests:
    command: sh -c "echo $$HOME"
    environment: {COMMIT: 12e4567, E: null}
    image: q.io/acme/web:1
  web:
    build: {context: /src/web, args: {A: '1', B: null}, labels: [mine=1]}
    image: q.io/acme/web:1
    pull_policy: always
version: '2.4'
volumes:
  cache: {}
"#;

/// As compose 2.26 prints it.
const OF_TWO: &str = r#"
name: 0199-x
services:
  api:
    build: {context: /src/api, dockerfile: docker/Dockerfile}
    image: other.io/x/api
  db:
    image: q.io/acme/db@sha256:00
  tests:
    build: {context: /src, dockerfile: Dockerfile}
    ports:
      - {mode: ingress, target: 80, published: "8080", protocol: tcp}
    networks: {default: null}
networks:
  default: {name: 0199-x_default}
volumes:
  cache: {name: 0199-x_cache}
  outside: {name: outside, external: true}
"#;

#[test]
fn two_jobs_can_have_one_project() {
    let mut shown = String::new();
    for config in [OF_ONE, OF_TWO] {
        let project = rewrite(config).unwrap();
        let text: Value = serde_json::from_str(&project.text).unwrap();
        shown += &serde_json::to_string_pretty(&text).unwrap();
        let used: Vec<_> = project.used.iter().map(ToString::to_string).collect();
        shown += &format!("\nused: {used:?}\nleft out: {:?}\n", project.left_out);
        for BuiltService { name, image, pushed, context, dockerfile, args } in &project.built {
            let pushed = pushed.as_ref().map(ToString::to_string);
            shown += &format!("{name}: {image}, pushed as {pushed:?}, of {context} {dockerfile} {args:?}\n");
        }
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn one_image_of_two_services_is_pushed_once() {
    let service = "{build: {context: /src}, image: q.io/acme/web}";
    let project =
        rewrite(&format!("services: {{a: {service}, b: {service}, tests: {{image: q.io/acme/web}}}}")).unwrap();
    let pushed: Vec<_> = project.built.iter().map(|service| service.pushed.is_some()).collect();
    assert_eq!(pushed, [true, false]);
}

#[test]
fn a_project_without_tests_is_refused() {
    for (config, expected) in [
        ("services: {a: {}, b: {}}", "it has no service `tests`, only a, b"),
        ("version: '2'", "it has no services"),
        ("services: {tests: 1}", "service tests is no mapping"),
    ] {
        assert_eq!(rewrite(config).unwrap_err(), expected);
    }
}
