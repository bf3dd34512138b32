//! A repository whose name comes in several spellings.

use serde_json::Value;

use crate::harness::{Daemon, HOOK_SECRET, Settings, World, push_payload, unique};

#[tokio::test]
async fn two_spellings_of_a_repository_have_one_mirror_and_the_same_layers() {
    let world = World::start_with(&[("REPO_CASE", "ignore"), ("ALLOW_REPOS", "ACME/hel*")]).await;
    let dockerfile = "FROM image-factory-busybox:1\nCOPY kept.txt /\nCOPY changed.txt /\n";
    let kept = format!("{}\n", unique());
    let mut layers = Vec::new();
    for (name, content) in [("acme/hello", "1"), ("Acme/Hello", "2"), ("acme/hello", "3")] {
        let files = [("Dockerfile", dockerfile), ("kept.txt", &kept), ("changed.txt", content)];
        let sha = world.repo.commit("develop", &files);
        let response = world.daemon.hook("push", &push_payload(name, "refs/heads/develop", &sha)).await;
        assert_eq!(response.status(), 201, "{name}");
        let made: Value = response.json().await.unwrap();
        let job = world.daemon.wait_success(made["id"].as_str().unwrap()).await;
        let log = world.daemon.log(made["id"].as_str().unwrap()).await;
        assert!(log.contains("/acme/hello.git ./"), "{log}");
        let image = job["image"].as_str().unwrap();
        let found: Vec<String> = serde_json::from_str(&world.engine.inspect(image, "{{json .RootFS.Layers}}")).unwrap();
        let labels: Value = serde_json::from_str(&world.engine.inspect(image, "{{json .Config.Labels}}")).unwrap();
        let source = labels["org.opencontainers.image.source"].as_str().unwrap();
        assert!(source.ends_with("/acme/hello"), "{source}");
        layers.push(found);
    }
    let shared = layers[0].len() - 1;
    assert!(layers.iter().all(|of| of[..shared] == layers[0][..shared]), "{layers:?}");
    assert!(layers[0][shared] != layers[1][shared] && layers[1][shared] != layers[2][shared], "{layers:?}");
    let below = |folder: &str| {
        let entries = std::fs::read_dir(world.daemon.data_dir().join("repos").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!((below("mirrors"), below("mirrors/acme")), (vec!["acme".to_owned()], vec!["hello.git".to_owned()]));
    assert_eq!(below("filetimes").len(), 1);
    let refused = world.daemon.hook("push", &push_payload("Acme/other", "refs/heads/develop", &"1".repeat(40))).await;
    assert_eq!(refused.status(), 403);
}

/// On a host of one's own two spellings are two repositories, which its owner may not have meant.
#[tokio::test]
async fn two_spellings_on_an_unknown_host_are_named_at_the_start() {
    let settings =
        [("HOOK_SECRET", HOOK_SECRET), ("CONCURRENCY", "0"), ("GIT_URL", "https://git.acme.org/{owner}/{repo}.git")];
    let settings: Settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut daemon = Daemon::start(settings).await;
    for name in ["acme/hello", "Acme/Hello", "acme/other"] {
        daemon.push_event(name, "develop", &"1".repeat(40)).await;
    }
    let warning = "Acme/Hello and acme/hello are two repositories here";
    for (choice, is_warned) in [("auto", true), ("keep", false)] {
        daemon.term(std::time::Duration::from_secs(20)).await;
        daemon.set("REPO_CASE", choice);
        let before = daemon.output().len();
        daemon.restart().await;
        assert_eq!(daemon.output()[before..].contains(warning), is_warned, "{choice}: {}", daemon.output());
    }
}
