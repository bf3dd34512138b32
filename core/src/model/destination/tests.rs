use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn destinations(base: &str, template: &str, dockerfile: &str, grants: &[&str]) -> Destinations {
    Destinations {
        base: base.into(),
        name: ImageName::parse(template).unwrap(),
        dockerfile: DockerfilePath::new(dockerfile).unwrap(),
        context: ContextPath::default(),
        grants: ImageGrants::parse(grants.iter().copied()).unwrap(),
        repo_case: RepoCase::default(),
    }
}

fn usual() -> Destinations {
    destinations("q.io/t", "{owner}-{repo}", "Dockerfile", &["acme/mono=r.io/shared/*"])
}

fn context(base: &str, repository: &str, options: Value) -> JobContext {
    let (owner, repo) = repository.rsplit_once('/').unwrap();
    let extra = Map::from_iter([(JobContext::BUILD.into(), options)]);
    JobContext {
        owner: owner.into(),
        repo: repo.into(),
        branch: "main".into(),
        commit: "HEAD".into(),
        github: true,
        docker_repo_base: base.into(),
        tag: "v1".into(),
        branch_left_out: false,
        extra,
    }
}

/// The name without the tag, and the one that is taken instead.
fn names(destinations: &Destinations, repository: &str, options: Value) -> (String, Option<String>) {
    let made = destinations.of(&context(&destinations.base, repository, options)).unwrap();
    let bare = |image: String| image.strip_suffix(":v1").unwrap().to_owned();
    (bare(made.image), made.alternative.map(bare))
}

#[test]
fn another_dockerfile_is_another_image() {
    let name = |options| names(&usual(), "acme/mono", options);
    let short = |name: &str, long: &str| (format!("q.io/t/acme-mono/{name}"), Some(format!("q.io/t/acme-mono/{long}")));
    assert_eq!(name(json!({ "dockerfile": "services/api/Dockerfile" })), short("api", "api-d2157578"));
    assert_eq!(name(json!({ "dockerfile": "Dockerfile.web" })), short("web", "web-1a40aad3"));
    assert_eq!(name(json!({ "dockerfile": "./web.Dockerfile" })), short("web", "web-b293e238"));
    assert_eq!(name(json!({ "dockerfile": "docker/Web" })).1, None);
    // Docker looks for the Dockerfile in the context.
    assert_eq!(name(json!({ "context": "services/api" })), short("api", "api-d2157578"));
    let own = ("q.io/t/acme-mono".to_owned(), None);
    for options in [
        json!({}),
        json!({ "dockerfile": "./Dockerfile" }),
        json!({ "target": "test", "buildArgs": { "A": "1" }, "platform": "linux/arm64" }),
        json!({ "dockerfile": "../x" }),
    ] {
        assert_eq!(name(options.clone()), own, "{options}");
    }
    // The repository's own name belongs to the Dockerfile of the settings.
    let other = destinations("q.io/t", "{owner}-{repo}", "docker/Dockerfile", &[]);
    assert_eq!(names(&other, "acme/mono", json!({ "dockerfile": "docker/Dockerfile" })), own);
    assert_eq!(names(&other, "acme/mono", json!({ "dockerfile": "Dockerfile" })).0, "q.io/t/acme-mono/dockerfile");
}

#[test]
fn a_requested_name_is_below_or_granted() {
    let destinations = usual();
    let name = |image: &str| names(&destinations, "acme/mono", json!({ "image": image, "dockerfile": "x/y" })).0;
    assert_eq!(name("api"), "q.io/t/acme-mono/api");
    assert_eq!(name("acme/web"), "q.io/t/acme-mono/acme/web");
    assert_eq!(name("q.io/t/acme-mono"), "q.io/t/acme-mono");
    assert_eq!(name("Q.io/t/acme-mono/x/y"), "Q.io/t/acme-mono/x/y");
    assert_eq!(name("r.io/shared/web"), "r.io/shared/web");
    let refused = |repository: &str, options| destinations.of(&context("q.io/t", repository, options)).unwrap_err();
    for image in ["q.io/t/acme-mono2", "q.io/t", "q.io/x", "r.io/shared/web/more", "docker.io/acme/mono"] {
        let refusal = refused("acme/mono", json!({ "image": image }));
        let expected = NoDestination::NotAllowed {
            image: image.into(),
            own: "q.io/t/acme-mono".into(),
            repository: "acme/mono".into(),
        };
        assert_eq!(refusal, expected, "{image}");
        assert!(refusal.to_string().ends_with(&format!("IMAGES_ALLOWED=acme/mono={image}")), "{refusal}");
    }
    assert!(matches!(refused("acme/other", json!({ "image": "r.io/shared/web" })), NoDestination::NotAllowed { .. }));
    let long = refused("acme/mono", json!({ "image": "x".repeat(250) }));
    assert_eq!(long.to_string(), "image is not valid: below q.io/t/acme-mono it would have more than 255 characters");
}

/// Docker Hub has names of an account and one part.
#[test]
fn a_flat_registry_has_names_beside() {
    for base in ["docker.io/acme", "acme", "index.docker.io/acme"] {
        let hub = destinations(base, "{repo}", "Dockerfile", &[]);
        let name = |options| {
            let (name, alternative) = names(&hub, "acme/mono", options);
            let strip = |name: String| name.strip_prefix(&format!("{base}/")).unwrap().to_owned();
            (strip(name), alternative.map(strip))
        };
        assert_eq!(name(json!({})), ("mono".into(), None));
        let (short, long) = name(json!({ "dockerfile": "web/Dockerfile" }));
        assert_eq!((&*short, long.as_deref()), ("mono-web-ddb081c8", Some("mono-web-8f2feec2")));
        assert_eq!(name(json!({ "image": "web" })).0, short);
        assert!(name(json!({ "image": "tools/lint" })).0.starts_with("mono-tools-lint-"));
    }
}

#[test]
fn a_long_name_is_cut() {
    let base = format!("q.io/{}", "b".repeat(140));
    let destinations = destinations(&base, "{owner}-{repo}", "Dockerfile", &[]);
    for length in [0, 40, 90, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 200] {
        let repository = format!("o/{}", "r".repeat(length));
        for file in ["web/Dockerfile", "x/Web", &format!("{}/Dockerfile", "f".repeat(200))] {
            let made = destinations.of(&context(&base, &repository, json!({ "dockerfile": file }))).unwrap();
            for image in [Some(made.image), made.alternative].into_iter().flatten() {
                let image = ImageRef::parse(&image).unwrap_or_else(|e| panic!("{length} {file}: {e}"));
                assert!(image.name().starts_with(&base));
            }
        }
    }
}

/// Paths of which many have the same short name, and repositories of which some are alike.
fn jobs() -> impl Strategy<Value = (String, String)> {
    let part = prop_oneof![
        "[ab.A ü-]{1,3}",
        Just("docker".to_owned()),
        Just("Dockerfile".to_owned()),
        "Dockerfile[.-][abA]{1,2}",
        "[abA]{1,2}.Dockerfile"
    ];
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    ("[ab-]{1,3}/[ab-]{1,3}", path)
}

proptest! {
    /// Repositories that a template tells apart share no name by their Dockerfiles.
    #[test]
    fn names_of_two_repositories_meet_only_by_the_template(one in jobs(), other in jobs()) {
        for (base, template) in [("q.io/t", "{owner}-{repo}"), ("q.io", "{owner}/{repo}"), ("q.io/t", "x/{repo}.{owner}")] {
            let destinations = destinations(base, template, "Dockerfile", &[]);
            let own = |repository: &str| names(&destinations, repository, json!({})).0;
            if own(&one.0) == own(&other.0) {
                continue;
            }
            let all = |(repository, path): &(String, String)| {
                let (name, long) = names(&destinations, repository, json!({ "dockerfile": path }));
                [Some(name), long, Some(own(repository))].into_iter().flatten().collect::<Vec<_>>()
            };
            let others = all(&other);
            prop_assert!(all(&one).iter().all(|name| !others.contains(name)), "{template}: {one:?} {other:?}");
        }
    }

    #[test]
    fn every_name_is_valid(job in jobs(), image in "[a-z./_-]{0,12}") {
        for base in ["docker.io/acme", "acme", "q.io", "127.0.0.1:5000/a/b"] {
            let destinations = destinations(base, "{owner}-{repo}", "Dockerfile", &[]);
            for options in [json!({ "dockerfile": job.1 }), json!({ "image": image })] {
                let context = context(base, &job.0, options);
                if let Ok(made) = destinations.of(&context) {
                    for image in [Some(made.image), made.alternative].into_iter().flatten() {
                        prop_assert!(ImageRef::parse(&image).is_ok(), "{}", image);
                    }
                }
            }
        }
    }
}
