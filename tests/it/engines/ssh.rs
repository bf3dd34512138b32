//! An engine behind a real sshd.

use crate::harness::{DeployKey, Flow, Gate, GitHost, KeyType, PASSPHRASE, processes_of};

use super::*;

/// Waits until `/ready` has these words.
async fn says(world: &World, words: &str) {
    let is_said = async || reasons(world).await.contains(words).then_some(());
    eventually(LIMIT * 2, &format!("/ready has {words:?}"), is_said).await;
}

/// The set-up of an operator who makes each mistake once, and then jobs by the one connection.
#[tokio::test]
async fn jobs_run_on_an_engine_behind_ssh() {
    let (engine, host) = (Engine::of(Docker::V26), GitHost::start().await);
    let gate = Gate::start(host.port());
    let address = host.engine_at(gate.port(), &engine);
    let mut world = World::start_at(engine.clone(), &[("DOCKER_HOST", &address)]).await;
    let key = DeployKey::generate(KeyType::Ed25519, PASSPHRASE);
    let name = "/totem/image-factory/engine-key";

    let at = format!("127.0.0.1:{}", gate.port());
    says(&world, &format!("the host key of the Docker engine at {address} is unknown; its machine is {at}: ")).await;
    let waiting = submit(&world).await;
    assert_eq!(world.daemon.job(&waiting).await["waitingFor"]["kind"], "engine");
    let cancel = world.daemon.request(reqwest::Method::POST, &format!("/job/{waiting}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
    let hosts = std::fs::read_to_string(world.git.known_hosts()).unwrap();
    let own = std::fs::read_to_string(host.known_hosts()).unwrap();
    let own = own.replace(&format!(":{} ", host.port()), &format!(":{} ", gate.port()));
    std::fs::write(world.git.known_hosts(), hosts + &own).unwrap();
    says(&world, "asks for a key, and none is stored: `image-factory secrets put engine-key FILE`").await;
    world.etcd.put(name, DeployKey::generate(KeyType::Ed25519, PASSPHRASE).private.as_str()).await;
    says(&world, "refuses the key SHA256:").await;
    let found = world.daemon.beside(&["doctor"]).run();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        found.lines().any(|line| line.starts_with("BAD  engine: the machine of") && line.contains("SHA256:")),
        "{found}"
    );
    // sshd takes the key and forbids the forwarding.
    host.authorize(&[&key]);
    world.etcd.put(name, key.private.as_str()).await;
    says(&world, "is connected, and opens no way to /run/image-factory-engine-26/docker.sock there (").await;
    host.authorize_forwarding(&[&key]);
    eventually(LIMIT * 2, "/ready is content", async || (reasons(&world).await == "[]").then_some(())).await;
    let logins = || host.output().matches("Accepted publickey").count();
    let before = logins();

    // A build with a context, whose requests share the connection.
    let dockerfile = format!("FROM image-factory-busybox:1\nCOPY . /src\nRUN echo {}\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("file", "a file")]);
    let id = submit(&world).await;
    let job = world.daemon.wait_success(&id).await;
    assert!(world.daemon.log(&id).await.contains("Sent what changed"));
    assert_eq!(world.digest(job["image"].as_str().unwrap().rsplit_once(':').unwrap().1).await.unwrap(), job["digest"]);

    // A cancelled job's step ends on the other side.
    let mark = unique();
    let step = format!("FROM image-factory-busybox:1\nRUN echo it ha''ngs; sleep 1000; echo {mark}\n");
    world.repo.commit("develop", &[("Dockerfile", &step)]);
    let id = submit(&world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    assert!(!processes_of(&mark).is_empty());
    let cancel = world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
    eventually(LIMIT, "the step has ended", async || processes_of(&mark).is_empty().then_some(())).await;
    assert_eq!(logins(), before);

    // The connection breaks in a build: the job runs again by another one.
    let id = in_build(&world).await;
    gate.set(Flow::Reset { after: 0 });
    ends_by_the_engine(&world, &id, Instant::now()).await;
    succeeds_again(&world, &id).await;
    assert_eq!(logins(), before + 1);

    // Nothing outlives the daemon.
    let sockets = world.daemon.data_dir().join("run/engines").display().to_string();
    assert!(!processes_of(&sockets).is_empty());
    world.daemon.kill9();
    eventually(LIMIT, "ssh has ended", async || processes_of(&sockets).is_empty().then_some(())).await;
}
