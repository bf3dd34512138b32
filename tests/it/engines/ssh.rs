//! An engine behind a real sshd.

use crate::harness::{DeployKey, Flow, Gate, GitHost, KeyType, PASSPHRASE, folder, processes_of};

use super::*;

/// Waits until `/ready` has these words.
async fn says(world: &World, words: &str) {
    let is_said = async || reasons(world).await.contains(words).then_some(());
    eventually(LIMIT * 2, &format!("/ready has {words:?}"), is_said).await;
}

/// An sshd before an engine, and the way to it. Its host key and the engine's key are not known yet.
struct Behind {
    host: GitHost,
    gate: Gate,
    address: String,
    world: World,
    key: DeployKey,
}

impl Behind {
    async fn start() -> Self {
        let (engine, host) = (Engine::of(Docker::V26), GitHost::start().await);
        let gate = Gate::start(host.port());
        let address = host.engine_at(gate.port(), &engine);
        let mut world = World::start_at(engine.clone(), &[("DOCKER_HOST", &address)]).await;
        let key = DeployKey::generate(KeyType::Ed25519, "");
        key.private.lines().skip(3).take(2).for_each(|line| world.daemon.guard("the engine's key", line));
        Self { host, gate, address, world, key }
    }

    fn know_host(&self) {
        let hosts = std::fs::read_to_string(self.world.git.known_hosts()).unwrap();
        let own = std::fs::read_to_string(self.host.known_hosts()).unwrap();
        let own = own.replace(&format!(":{} ", self.host.port()), &format!(":{} ", self.gate.port()));
        std::fs::write(self.world.git.known_hosts(), hosts + &own).unwrap();
    }

    fn put_key(&self) {
        let dir = folder();
        let file = dir.path().join("engine_key");
        std::fs::write(&file, &self.key.private).unwrap();
        let put = self.world.daemon.beside(&["secrets", "put", "engine-key", file.to_str().unwrap()]).run();
        let said = String::from_utf8_lossy(&put.stdout).into_owned();
        assert!(put.status.success() && said.starts_with("stored key for engines ssh-ed25519 SHA256:"), "{put:?}");
        assert!(said.contains("uses it"), "{said}");
    }

    async fn is_well(&self) {
        let content = async || (reasons(&self.world).await == "[]").then_some(());
        eventually(LIMIT * 2, "/ready is content", content).await;
    }

    fn logins(&self) -> usize {
        self.host.output().matches("Accepted publickey").count()
    }
}

/// The set-up of an operator who makes each mistake once, and then jobs by the one connection.
#[tokio::test]
async fn jobs_run_on_an_engine_behind_ssh() {
    let mut behind = Behind::start().await;
    let Behind { world, address, .. } = &behind;
    let at = format!("127.0.0.1:{}", behind.gate.port());
    says(world, &format!("the host key of the Docker engine at {address} is unknown; its machine is {at}: ")).await;
    let waiting = submit(world).await;
    assert_eq!(world.daemon.job(&waiting).await["waitingFor"]["kind"], "engine");
    let cancel = world.daemon.request(reqwest::Method::POST, &format!("/job/{waiting}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
    behind.know_host();
    says(world, "asks for a key, and none is stored: `image-factory secrets put engine-key FILE`").await;
    let other = DeployKey::generate(KeyType::Ed25519, PASSPHRASE).private;
    world.etcd.put("/totem/image-factory/engine-key", other.as_str()).await;
    says(world, "refuses the key SHA256:").await;
    let found = world.daemon.beside(&["doctor"]).run();
    let found = String::from_utf8_lossy(&found.stdout).into_owned();
    assert!(
        found.lines().any(|line| line.starts_with("BAD  engine: the machine of") && line.contains("SHA256:")),
        "{found}"
    );
    // sshd takes the key and forbids the forwarding.
    behind.host.authorize(&[&behind.key]);
    behind.put_key();
    says(world, "is connected, and opens no way to /run/image-factory-engine-26/docker.sock there (").await;
    behind.host.authorize_forwarding(&[&behind.key]);
    behind.is_well().await;
    let before = behind.logins();

    // A build with a context, whose requests share the connection.
    let dockerfile = format!("FROM image-factory-busybox:1\nCOPY . /src\nRUN echo {}\n", unique());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("file", "a file")]);
    let id = submit(world).await;
    let job = world.daemon.wait_success(&id).await;
    assert!(world.daemon.log(&id).await.contains("Sent what changed"));
    assert_eq!(world.digest(job["image"].as_str().unwrap().rsplit_once(':').unwrap().1).await.unwrap(), job["digest"]);

    // A cancelled job's step ends on the other side.
    let mark = unique();
    let step = format!("FROM image-factory-busybox:1\nRUN echo it ha''ngs; sleep 1000; echo {mark}\n");
    world.repo.commit("develop", &[("Dockerfile", &step)]);
    let id = submit(world).await;
    world.daemon.wait_log(&id, "it hangs").await;
    assert!(!processes_of(&mark).is_empty());
    let cancel = world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
    assert!(cancel.status().is_success());
    eventually(LIMIT, "the step has ended", async || processes_of(&mark).is_empty().then_some(())).await;
    assert_eq!(behind.logins(), before);

    // The connection breaks in a build: the job runs again by another one.
    let id = in_build(world).await;
    behind.gate.set(Flow::Reset { after: 0 });
    ends_by_the_engine(world, &id, Instant::now()).await;
    succeeds_again(world, &id).await;
    assert_eq!(behind.logins(), before + 1);

    // Nothing outlives the daemon.
    let sockets = world.daemon.data_dir().join("run/engines").display().to_string();
    assert!(!processes_of(&sockets).is_empty());
    behind.world.daemon.kill9();
    eventually(LIMIT, "ssh has ended", async || processes_of(&sockets).is_empty().then_some(())).await;
}

/// The key is taken from the engine's machine while a job has no engine yet: an operator has to mend that.
#[tokio::test]
async fn a_job_whose_engine_refuses_the_key_is_the_operators() {
    let mut behind = Behind::start().await;
    behind.know_host();
    behind.host.authorize_forwarding(&[&behind.key]);
    behind.put_key();
    behind.is_well().await;
    behind.world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n")]);
    let git = behind.world.gate_git().await;
    behind.is_well().await;
    git.set(Flow::Stall { after: 0 });
    let id = submit(&behind.world).await;
    behind.world.daemon.wait_stage(&id, "clone").await;
    behind.host.authorize_forwarding(&[]);
    behind.gate.set(Flow::Reset { after: 0 });
    says(&behind.world, "refuses the key SHA256:").await;
    git.set(Flow::Pass);
    let job = behind.world.daemon.wait_failure(&id).await;
    let cause = job["cause"].as_str().unwrap();
    assert!(job["class"] == "config" && cause.contains("add its public half to"), "{job}");
}
