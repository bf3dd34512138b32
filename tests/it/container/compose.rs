//! `etc/compose.yaml`: etcd with a password, and the factory.

use std::process::{Command, Output};

use super::LIMIT;
use crate::harness::container::{Made, compose_image, debian_with, image, text, top};
use crate::harness::{
    DeployKey, Docker, Engine, KeyType, Left, PrivateEngine, SshClient, eventually, folder, note, port, succeed, unique,
};

const PASSWORD: &str = "canary-of-etcd-s-password";

/// A project of `etc/compose.yaml`, which is removed when this is dropped.
struct Project<'a> {
    engine: &'a Engine,
    /// Arguments of `docker run` up to the program.
    run: Vec<String>,
    name: String,
}

impl Project<'_> {
    fn compose(&self, args: &[&str]) -> Output {
        let mut docker = Command::new("docker");
        docker.env("DOCKER_HOST", &self.engine.host).args(&self.run).args([
            "docker-compose",
            "--project-name",
            &self.name,
        ]);
        docker.args(["--file", "/etc/factory/compose.yaml"]).args(args).output().unwrap()
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.compose(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        text(&output)
    }

    /// Runs a program in a service's container.
    fn exec(&self, service: &str, args: &[&str], stdin: &str) -> Output {
        let label = format!("label=com.docker.compose.project={}", self.name);
        let service = format!("label=com.docker.compose.service={service}");
        let id = self.engine.docker(&["ps", "--quiet", "--filter", &label, "--filter", &service]);
        let mut exec = Command::new("docker");
        exec.env("DOCKER_HOST", &self.engine.host).args(["exec", "--interactive", &id]).args(args);
        succeed(&mut exec, stdin.as_bytes())
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        self.compose(&["down", "--volumes", "--timeout", "5"]);
    }
}

#[tokio::test]
async fn the_first_start_by_compose_1_is_as_documented() {
    the_first_start("1", &Engine::shared(), &["env"]).await;
}

#[tokio::test]
async fn the_first_start_by_compose_2_is_as_documented() {
    the_first_start("2", &Engine::shared(), &["env"]).await;
}

/// The second engine of the tests leaves the firewall alone, by which the first one keeps its containers from each other, so
/// this one has a network of its own.
#[tokio::test]
async fn the_first_start_on_a_private_engine_is_as_documented() {
    let engine = PrivateEngine::start(Docker::V26).await;
    the_first_start("2", &engine.engine, &["nsenter", &engine.network()]).await;
}

/// `enter` runs a program in the network of the engine's machine.
async fn the_first_start(version: &str, engine: &Engine, enter: &[&str]) {
    let (image, dir, name) = (image(engine, "prebuilt"), folder(), format!("iftest{}", unique()));
    for container in ["-etcd-1", "-factory-1", "_etcd_1", "_factory_1"] {
        note(dir.path(), engine, Left::Container(&format!("{name}{container}")));
    }
    let etcd = format!("iftest-etcd-{}", unique());
    note(dir.path(), engine, Left::Images(&format!("reference={etcd}")));
    for program in ["etcd", "etcdctl"] {
        std::fs::copy(format!("/usr/bin/{program}"), dir.path().join(program)).unwrap();
    }
    let dockerfile = format!("FROM {}\nCOPY etcd etcdctl /usr/bin/\n", debian_with(engine, &["engine"]));
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    engine.docker(&["build", "--quiet", "--tag", &etcd, dir.path().to_str().unwrap()]);
    let etcd = Made::image(engine, etcd);

    let socket = engine.host.strip_prefix("unix://").unwrap();
    let (http, ssh) = (port(), port());
    let variables = [
        ("ETCD_IMAGE", etcd.name.clone()),
        ("ETCD_PASSWORD", PASSWORD.into()),
        ("FACTORY_IMAGE", image.name.clone()),
        ("SSHD", "auto".into()),
        ("HTTP_PORT", format!("127.0.0.1:{http}")),
        ("SSH_PORT", format!("127.0.0.1:{ssh}")),
        ("DOCKER_SOCKET", socket.into()),
        ("HOOK_SECRET", "a secret of its own".into()),
    ]
    .map(|(name, value)| format!("{name}={value}\n"));
    // Compose looks for the file of variables beside the project's, and not where it is run.
    let project = dir.path().join("project");
    std::fs::create_dir(&project).unwrap();
    std::fs::copy(top().join("etc/compose.yaml"), project.join("compose.yaml")).unwrap();
    std::fs::write(project.join(".env"), variables.concat()).unwrap();
    let compose = compose_image(engine, version);
    let fixed = ["run", "--rm", "--network=none", &format!("--volume={socket}:/var/run/docker.sock")].map(String::from);
    let file = format!("--volume={}:/etc/factory:ro", project.display());
    let run = fixed.into_iter().chain([file, compose]).collect();
    let project = Project { engine, run, name };
    let config = project.done(&["config"]);
    assert!(config.contains("ETCD_USER: root") && config.contains(&image.name), "{config}");
    project.done(&["up", "--detach", "etcd"]);
    project.exec("etcd", &["etcdctl", "user", "add", "root", "--interactive=false"], PASSWORD);
    project.exec("etcd", &["etcdctl", "auth", "enable"], "");
    project.done(&["up", "--detach"]);
    let is_ready = async || {
        let mut curl = Command::new(enter[0]);
        curl.args(&enter[1..]).args(["curl", "--fail", "--silent", &format!("http://127.0.0.1:{http}/ready")]);
        text(&curl.output().unwrap()).contains(r#""status":"ready""#).then_some(())
    };
    eventually(LIMIT, "the factory is ready", is_ready).await;
    // The keys are in the etcd, which asks for the password.
    let (key, client) = (
        DeployKey::generate(KeyType::Ed25519, ""),
        SshClient::new(enter.iter().map(ToString::to_string).collect(), ssh),
    );
    project.exec("factory", &["image-factory", "secrets", "put", "authorized-keys", "-"], &format!("{}\n", key.public));
    let stored = ["etcdctl", "--user", "root", "get", "/totem/ssh/authorized-keys"];
    let stored = project.exec("etcd", &stored, &format!("{PASSWORD}\n"));
    assert!(text(&stored).contains(&key.public), "{stored:?}");
    let is_in = async || client.run(&key, "docker ps").status.success().then_some(());
    eventually(LIMIT, "the key lets in", is_in).await;
    assert!(!project.done(&["logs"]).contains(PASSWORD));
}
