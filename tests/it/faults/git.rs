use std::path::Path;
use std::time::Duration;

use crate::harness::{Flow, World, eventually, processes_of, unique};

/// The Git server stops in the middle of a pack, and later answers again.
#[tokio::test]
async fn a_git_server_that_hangs_in_a_pack_times_out() {
    let mut world = World::start_with(&[("CLONE_TIMEOUT", "3s")]).await;
    // The content cannot be compressed, and each commit has its own.
    let noise: String = (0..4000).map(|_| format!("{:016x}{}\n", fastrand::u64(..), unique())).collect();
    let sha = world
        .repo
        .commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY noise /\n"), ("noise", &noise)]);
    let gate = world.gate_git().await;
    gate.set(Flow::Stall { after: 40_000 });
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let job = world.daemon.wait_failure(&id).await;
    let message = job["results"]["clone"]["err"]["message"].as_str().unwrap();
    assert!(message.contains("CLONE_TIMEOUT") && message.contains("3 s"), "{message}");
    assert!(gate.passed() > 20_000, "it hung before the pack");
    // Neither programs nor half packs are left.
    let data = world.daemon.data_dir().join("repos");
    let ssh = format!("-p {}", gate.port());
    eventually(Duration::from_secs(10), "git is gone", async || {
        let left =
            [processes_of(&format!("{}/mirrors", data.display())), processes_of(&format!("{ssh} git-upload-pack"))];
        left.concat().is_empty().then_some(())
    })
    .await;

    gate.set(Flow::Pass);
    let response = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello", "commit": sha})).await;
    world.daemon.wait_success(&response).await;
    assert_eq!(halves(&data), Vec::<String>::new(), "what the first try left is still there");
}

/// Half packs and half mirrors.
fn halves(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("tmp_") || name.ends_with(".lock") || name.ends_with(".new") {
            found.push(entry.path().display().to_string());
        }
        if entry.file_type().unwrap().is_dir() {
            found.extend(halves(&entry.path()));
        }
    }
    found
}
