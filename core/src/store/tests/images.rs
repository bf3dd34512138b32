use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::model::{ContextPath, Destinations, DockerfilePath, ImageGrants, ImageName};

/// A job of `acme/mono` by this Dockerfile, named as requests are.
async fn by(store: &Store, dockerfile: &str) -> Job {
    let destinations = Destinations {
        base: "quay.io/totem".into(),
        name: ImageName::parse("{owner}-{repo}").unwrap(),
        dockerfile: DockerfilePath::new("Dockerfile").unwrap(),
        context: ContextPath::default(),
        grants: ImageGrants::default(),
        repo_case: crate::model::RepoCase::default(),
    };
    let mut context = context("mono");
    context.extra.insert("build".into(), serde_json::json!({ "dockerfile": dockerfile }));
    let to = destinations.of(&context).unwrap();
    match store.add_job(NewJob::bound_for(context, to), None).await.unwrap() {
        Added::New(job) => job,
        Added::Duplicate(job) => panic!("{} is a duplicate", job.id),
    }
}

fn name(job: &Job) -> &str {
    job.image.strip_prefix("quay.io/totem/acme-mono/").unwrap().strip_suffix(":HEAD").unwrap()
}

/// Ends the oldest job that waits.
async fn end(store: &Store, status: Status) -> Job {
    let job = store.claim("n", LEASE).await.unwrap().unwrap();
    store.finish(job.id, job.attempt, &outcome(status)).await.unwrap()
}

#[tokio::test]
async fn the_first_dockerfile_keeps_a_short_name() {
    let (_dir, store) = open().await;
    let (first, second) = ("services/api/Dockerfile", "libs/api/Dockerfile");
    // The first one waits, runs and has pushed: the name is taken all the time.
    let long = |job: &Job| name(job).strip_prefix("api-").is_some_and(|hash| hash.len() == 8);
    assert_eq!(name(&by(&store, first).await), "api");
    assert!(long(&by(&store, second).await));
    let running = store.claim("n", LEASE).await.unwrap().unwrap();
    assert!(long(&by(&store, second).await));
    store.finish(running.id, running.attempt, &outcome(Status::Success)).await.unwrap();
    assert!(long(&by(&store, second).await));
    assert_eq!(name(&by(&store, first).await), "api");
    assert_eq!(name(&by(&store, "./services//api/Dockerfile").await), "api");
    // Another repository's names are its own.
    assert_eq!(store.other_users(&running).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_job_that_pushed_nothing_keeps_no_name() {
    let (_dir, store) = open().await;
    assert_eq!(name(&by(&store, "sevices/api/Dockerfile").await), "api");
    end(&store, Status::Failure).await;
    assert_eq!(name(&by(&store, "services/api/Dockerfile").await), "api");
    end(&store, Status::Success).await;
    assert!(name(&by(&store, "sevices/api/Dockerfile").await).starts_with("api-"));
}

#[tokio::test]
async fn a_long_name_that_was_pushed_stays() {
    let (_dir, store) = open().await;
    by(&store, "a/api/Dockerfile").await;
    let long = by(&store, "b/api/Dockerfile").await;
    end(&store, Status::Failure).await;
    // The first one has failed, and this one still waits for its long name.
    assert_eq!(by(&store, "b/api/Dockerfile").await.image, long.image);
    end(&store, Status::Success).await;
    end(&store, Status::Success).await;
    assert_eq!(by(&store, "b/api/Dockerfile").await.image, long.image);
}

#[tokio::test]
async fn repositories_that_share_an_image_are_known() {
    let (dir, store) = open().await;
    let folder = dir.path().join("data");
    let shared = async || Store::shared_images(&folder).await.unwrap();
    for (repo, status) in
        [("b", Status::Success), ("B", Status::Success), ("c", Status::Failure), ("a", Status::Success)]
    {
        let job = add(&store, repo).await;
        let others = store.other_users(&job).await.unwrap();
        assert_eq!(others, if matches!(repo, "a" | "c") { vec!["acme/b"] } else { vec![] }, "{repo}");
        end(&store, status).await;
    }
    let expected =
        SharedImage { image: "quay.io/totem/acme-hello".into(), repositories: vec!["acme/a".into(), "acme/b".into()] };
    // Beside the daemon that has the folder's lock, and without one.
    assert_eq!(shared().await, std::slice::from_ref(&expected));
    store.close().await;
    let files = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.collect::<std::collections::BTreeSet<_>>()
    };
    let before = files();
    assert_eq!(shared().await, [expected]);
    assert_eq!(files(), before);
    assert_eq!(Store::shared_images(Path::new("/proc/nowhere")).await.unwrap(), []);
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize),
    End(Status),
}

/// Four of them have the same short name, and one has the form of a long one.
const PATHS: [&str; 6] =
    ["a/api/Dockerfile", "b/api/Dockerfile", "Dockerfile.api", "api.Dockerfile", "Dockerfile.api-00112233", "web"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// No image is pushed, or about to be, by two Dockerfiles; and what a Dockerfile has pushed is its name from then on.
    #[test]
    fn two_dockerfiles_never_have_one_name(steps in prop::collection::vec(prop_oneof![
        3 => (0..PATHS.len()).prop_map(Step::Add),
        2 => Just(Step::End(Status::Success)),
        1 => Just(Step::End(Status::Failure)),
    ], 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = open().await;
            let (mut live, mut pushed): (Vec<(String, usize)>, BTreeMap<String, usize>) = Default::default();
            for step in steps {
                match step {
                    Step::Add(path) => {
                        let job = by(&store, PATHS[path]).await;
                        if let Some((image, _)) = pushed.iter().find(|(_, user)| **user == path) {
                            assert_eq!(job.image, *image, "{} has another name", PATHS[path]);
                        }
                        let others = live.iter().find(|(image, user)| *image == job.image && *user != path);
                        assert_eq!(others, None, "{}", PATHS[path]);
                        assert!(pushed.get(&job.image).is_none_or(|user| *user == path), "{}", PATHS[path]);
                        live.push((job.image, path));
                    }
                    Step::End(status) => if !live.is_empty() {
                        end(&store, status).await;
                        let (image, path) = live.remove(0);
                        if status == Status::Success {
                            pushed.insert(image, path);
                        }
                    }
                }
            }
        });
    }
}

#[tokio::test]
async fn a_name_stays_with_the_first_that_asked_or_pushed() {
    let (_dir, store) = open().await;
    let hold = async |name: &str, repository: &str, excluding: &'static [&'static str]| {
        store.hold_name(name, repository, move |holder| excluding.contains(&holder)).await.unwrap()
    };
    let all: &[&str] = &["acme/a-", "acme/b", "acme/c"];
    assert_eq!(hold("q.io/a-eee1f5b8", "acme/a-", all).await, "acme/a-");
    assert_eq!(hold("q.io/a-eee1f5b8", "acme/b", all).await, "acme/a-");
    // The settings give that repository another name by now.
    assert_eq!(hold("q.io/a-eee1f5b8", "acme/b", &["acme/c"]).await, "acme/b");
    // Before names were recorded, the first push counts, but for one that was only granted.
    sql(
        &store,
        "INSERT INTO image_users (image, repository, dockerfile) VALUES \
         ('q.io/x-eee1f5b8', 'acme/granted', ''), ('q.io/x-eee1f5b8', 'acme/c', ''), ('q.io/x-eee1f5b8', 'acme/b', '')",
    )
    .await;
    assert_eq!(hold("q.io/x-eee1f5b8", "acme/b", all).await, "acme/c");
}
