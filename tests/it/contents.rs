//! A repository that is more than its own objects: submodules and LFS files become part of the image.

use std::path::Path;

use serde_json::json;
use sha2::{Digest, Sha256};

use crate::harness::{LfsServer, World, unique};

#[tokio::test]
async fn a_push_with_a_submodule_and_an_lfs_file_becomes_an_image_with_both() {
    let world = World::start().await;
    let server = LfsServer::start(Some("RemoteAuth 123"), Path::new("/nonexistent"));
    world.git.lfs_authenticate(&format!(
        "echo '{{\"href\": \"{}\", \"header\": {{\"Authorization\": \"RemoteAuth 123\"}}}}'",
        server.endpoint("acme", "hello")
    ));
    let (repo, lib) = (&world.repo, world.git.repo("acme", "lib"));
    let first = lib.commit("main", &[("lib.txt", "of the submodule\n"), ("more/x", "1")]);
    repo.track_with_lfs(&server.endpoint("acme", "hello"), "*.bin");
    repo.gitlink("libs/lib", &first);
    let large = "0123456789abcdef".repeat(100_000);
    let dockerfile =
        format!("FROM image-factory-busybox:1\nCOPY . /all\nRUN test -d /all/libs/lib/more && echo {}\n", unique());
    let gitmodules = "[submodule \"lib\"]\n\tpath = libs/lib\n\turl = ../lib.git\n";
    let files =
        [("Dockerfile", &*dockerfile), (".gitmodules", gitmodules), ("large.bin", &large), ("hello.txt", "hi\n")];
    let sha = repo.commit("develop", &files);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_success(&id).await;
    let image = |sha: &str| format!("{}/totem/acme-hello:{sha}", world.registry.address());
    let shown = world.engine.run(&image(&sha), &["cat", "/all/hello.txt", "/all/libs/lib/lib.txt"]);
    assert_eq!(shown, "hi\nof the submodule");
    let digest = world.engine.run(&image(&sha), &["sha256sum", "/all/large.bin"]);
    assert_eq!(digest, format!("{}  /all/large.bin", hex::encode(Sha256::digest(&large))));
    assert_eq!(job["resolvedCommit"], json!(sha));
    let log = world.daemon.log(&id).await;
    assert!(
        log.contains("Fetching the branches and tags of ssh://") && log.contains("Fetching 1 LFS files of"),
        "{log}"
    );
    assert!(!log.contains("RemoteAuth"), "{log}");

    // Another commit of the submodule: what changed in it is sent, and nothing else.
    let second = lib.commit("main", &[("lib.txt", "second\n")]);
    repo.gitlink("libs/lib", &second);
    let sha = repo.commit("develop", &[]);
    server.requests();
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_success(&id).await;
    assert_eq!(world.engine.run(&image(&sha), &["cat", "/all/libs/lib/lib.txt"]), "second");
    let log = world.daemon.log(&id).await;
    assert!(log.contains("Sent what changed: 1 files, 7 bytes"), "{log}");
    assert!(server.requests().is_empty());

    // A submodule or file that cannot be fetched fails the job, and the message names it.
    repo.commit("develop", &[(".gitmodules", &gitmodules.replace("../lib.git", "ext::sh -c id"))]);
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let job = world.daemon.wait_failure(&id).await;
    let cause = job["cause"].as_str().unwrap();
    assert!(cause.starts_with("checkout: submodule \"lib\" at libs/lib: its URL cannot be used"), "{cause}");
}
