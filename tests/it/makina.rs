//! Projects of the makina-states convention: written by `scaffold`, checked and built by the factory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{
    Docker, Engine, PASSPHRASE, Repo, World, dockercfg, eventually, folder, gpg_encrypt, port, succeed, unique,
};
use crate::packaging::{Container, debian_with, launcher, text, top};

/// Writes the project `name` and its volume into a folder.
fn scaffold(parent: &Path, name: &str) {
    succeed(Command::new(launcher()).args(["scaffold", name]).current_dir(parent), b"");
}

/// Copies a project into the repository's clone.
fn put(repo: &Repo, project: &Path) {
    let mut copy = Command::new("cp");
    succeed(copy.args(["-a", &format!("{}/.", project.display())]).arg(repo.path(".")), b"");
}

/// A small project of the layout, whose image has nothing of it.
const SMALL: [(&str, &str); 3] = [
    ("Dockerfile", "FROM image-factory-busybox:1\n"),
    ("bin/launch.sh", "#!/bin/sh\n"),
    (".salt/PILLAR.sample", "makina-projects.hello: {}\n"),
];

const KEY: &str = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n";

#[tokio::test]
async fn data_and_secrets_under_the_project_are_refused() {
    let world = World::start().await;
    for (number, (path, content, message)) in [
        ("hello_data/volume/data/db", "", "hello_data/volume/data/db is data of a deployment, which would be in the image: take it out of the repository, and into the container's volume"),
        ("configuration/pillar.sls", "", "configuration/pillar.sls is data of a deployment, which would be in the image: take it out of the repository, and into the container's volume"),
        ("ssh/id_ed25519", KEY, "ssh/id_ed25519 is a private key, which everybody who has the image could read: take it out of the repository, and make a new one"),
        ("Dockerfile", "FROM image-factory-busybox:1\nVOLUME [\"/srv/projects/hello/data\", \\\n \"/srv/projects/hello/project/media\"]\n", "Dockerfile:2 declares the volume /srv/projects/hello/project/media, which would hide the project's code: declare /srv/projects/hello/data"),
        ("Dockerfile", "FROM image-factory-busybox:1\nENV P=/srv/projects/hello\nVOLUME $P/project\n", "Dockerfile:3 declares the volume /srv/projects/hello/project, which would hide the project's code: declare /srv/projects/hello/data"),
    ].into_iter().enumerate() {
        let (repo, branch) = (&world.repo, format!("b{number}"));
        repo.git(&["rm", "-rqf", "--ignore-unmatch", "."]);
        repo.commit(&branch, &[&SMALL[..], &[(path, content)]].concat());
        let body = json!({ "owner": "acme", "repo": "hello", "branch": branch });
        let id = world.daemon.submit(body).await;
        let job = world.daemon.wait_failure(&id).await;
        assert_eq!(job["class"], "source", "{job}");
        assert!(job["cause"].as_str().unwrap().contains(message), "{job}");
    }
    // The same files are a repository's own affair without the layout.
    world.repo.git(&["rm", "-rqf", "--ignore-unmatch", "."]);
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\n"), ("id_rsa", KEY)]);
    let id = world.daemon.submit(json!({ "owner": "acme", "repo": "hello" })).await;
    world.daemon.wait_success(&id).await;
}

async fn what_a_tar_may_lose_is_named(docker: Docker) {
    let world = World::start_at(Engine::of(docker), &[]).await;
    let repo = &world.repo;
    fs::create_dir_all(repo.path("files")).unwrap();
    let tar = "import io, sys, tarfile\n\
               tar = tarfile.open(sys.argv[1], 'w', format=tarfile.PAX_FORMAT)\n\
               file = tarfile.TarInfo('serve')\n\
               file.pax_headers = {'SCHILY.xattr.security.capability': '\\1\\0\\0\\2\\0\\4' + '\\0' * 14}\n\
               tar.addfile(file)\ntar.close()\n";
    succeed(Command::new("python3").args(["-c", tar]).arg(repo.path("files/app.tar")), b"");
    let dockerfile =
        format!("FROM image-factory-busybox:1\nADD files/app.tar /opt/\n# setfattr\nRUN : setfacl {}\n", unique());
    let states = "app:\n  acl.present:\n    - name: /srv\n";
    repo.commit("develop", &[&SMALL[1..2], &[("Dockerfile", &dockerfile), (".salt/100_app.sls", states)]].concat());
    let id = world.daemon.submit(json!({ "owner": "acme", "repo": "hello" })).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    let warnings: Vec<_> = log.lines().filter_map(|line| line.strip_prefix("warning: ")).collect();
    assert_eq!(
        warnings,
        [
            "bin/launch.sh is not executable: git update-index --chmod=+x bin/launch.sh",
            "there is no .salt/PILLAR.sample: a container whose volume has no configuration/pillar.sls has no pillar",
            ".salt/100_app.sls:2: acl.present sets POSIX ACLs: they are lost when images are exchanged as tar",
            "Dockerfile:4: setfacl sets POSIX ACLs: they are lost when images are exchanged as tar",
            "serve in files/app.tar has ACLs or extended attributes: they are lost when images are exchanged as tar",
            "/opt/serve in the image has ACLs or extended attributes: they are lost when images are exchanged as tar",
        ],
        "{log}"
    );
}

on_each_engine!(what_a_tar_may_lose_is_named);

/// Waits for a job on an image of Debian, whose half a gigabyte is pushed to a registry, too.
async fn built(world: &World, id: &str) -> Value {
    let limit = Duration::from_secs(300);
    let job = world.daemon.wait_for(id, limit, |job| job["status"] != "pending" && job["status"] != "running").await;
    assert_eq!(job["status"], "success", "{job:#}\n{}", world.daemon.log(id).await);
    job
}

#[tokio::test]
async fn a_scaffold_is_built_and_configures_itself() {
    let world = World::start_with(&[]).await;
    let dir = folder();
    scaffold(dir.path(), "hello");
    put(&world.repo, &dir.path().join("hello"));
    let debian = debian_with(&world.engine, &[]);
    world.repo.commit("develop", &[]);
    let body = json!({ "owner": "acme", "repo": "hello", "build": { "buildArgs": { "BASE": debian } } });
    let id = world.daemon.submit(body).await;
    let job = built(&world, &id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("its layout is checked") && !log.contains("warning:"), "{log}");
    let image = job["image"].as_str().unwrap();
    assert_eq!(world.engine.inspect(image, "{{.Config.Volumes}}"), "map[/srv/projects/hello/data:{}]");

    let volume = dir.path().join("hello_data/volume");
    let mounted = format!("{}:/srv/projects/hello/data", volume.display());
    let container = Container::run(&world.engine, &["--volume", &mounted, image]);
    let says = async |domain: &str| {
        let line = format!("hello | hello is configured: domain={domain}\n");
        let said = async || container.logs().contains(&line).then_some(());
        eventually(Duration::from_secs(30), &format!("the application says {line}"), said).await;
    };
    says("hello.example.com").await;
    // A changed pillar counts from the next start.
    let pillar = volume.join("configuration/pillar.sls");
    fs::write(&pillar, fs::read_to_string(&pillar).unwrap().replace("hello.example.com", "other.example.com")).unwrap();
    world.engine.docker(&["restart", &container.name]);
    says("other.example.com").await;
    world.engine.docker(&["stop", "--time", "30", &container.name]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", container.logs());
}

/// The authority of a registry, as the machine's engines and the factory know it.
struct Trusted(PathBuf);

impl Trusted {
    fn new(registry: &str, authority: &Path) -> Self {
        let folder = Path::new("/etc/docker/certs.d").join(registry);
        fs::create_dir_all(&folder).unwrap();
        fs::copy(authority, folder.join("ca.crt")).unwrap();
        Self(folder)
    }
}

impl Drop for Trusted {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The example of the documents, from the folder to a push: built by the factory, launched, configured anew by a changed
/// pillar, and the registry of another factory.
#[tokio::test]
async fn the_registry_of_the_example_is_built_launched_and_pushed_to() {
    let (world, dir) = (World::start().await, folder());
    let project = dir.path().join("registry");
    succeed(Command::new("cp").arg("-a").arg(top().join("examples/registry")).arg(&project), b"");
    let make = |words: &[&str]| succeed(Command::new("make").arg("-C").arg(&project).args(words), b"");
    make(&["project", &format!("LAUNCHER={}", launcher().display())]);
    make(&["pillar", "NAMES=IP:127.0.0.1"]);
    put(&world.repo, &project);
    world.repo.commit("develop", &[]);
    let debian = debian_with(&world.engine, &["registry"]);
    let body = json!({ "owner": "acme", "repo": "hello", "build": { "buildArgs": { "BASE": debian } } });
    let id = world.daemon.submit(body).await;
    let job = built(&world, &id).await;
    assert!(!world.daemon.log(&id).await.contains("warning:"));

    let address = format!("127.0.0.1:{}", port());
    let (published, volume) = (format!("{address}:443"), dir.path().join("registry_data/volume"));
    let mounted = format!("{}:/srv/projects/registry/data", volume.display());
    let image = job["image"].as_str().unwrap();
    let container = Container::run(&world.engine, &["--publish", &published, "--volume", &mounted, image]);
    let authority = dir.path().join("registry_authority/ca.pem");
    let (name, port) = ("registry.example.com", address.split_once(':').unwrap().1);
    let resolved = format!("{name}:{port}:127.0.0.1");
    let status = || {
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(&authority);
        text(&curl.args(["--resolve", &resolved, &format!("https://{name}:{port}/v2/")]).output().unwrap())
    };
    let limit = Duration::from_secs(60);
    eventually(limit, &format!("the registry answers: {}", container.logs()), async || {
        (status() == "200").then_some(())
    })
    .await;

    // A changed pillar counts from the next start.
    let user = succeed(Command::new("htpasswd").args(["-nbB", "builder", "the registry's word"]), b"");
    let pillar = volume.join("configuration/pillar.sls");
    let users = format!("    users: ['{}']", text(&user).trim());
    fs::write(&pillar, fs::read_to_string(&pillar).unwrap().replace("    users: []", &users)).unwrap();
    world.engine.docker(&["restart", &container.name]);
    eventually(limit, "the registry asks for a password", async || (status() == "401").then_some(())).await;
    assert_eq!(container.done(&["stat", "-c", "%a %U:%G", "/etc/docker/registry/users"]), "640 root:docker-registry\n");

    let _trusted = Trusted::new(&address, &authority);
    let other = World::start_with(&[("DOCKER_REPO_BASE", &format!("{address}/totem"))]).await;
    let login = dockercfg(&address, "builder", "the registry's word");
    other.etcd.put("/totem/image-factory/dockercfg", gpg_encrypt(&login, PASSPHRASE)).await;
    other.repo.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique()))]);
    let pushed = eventually(limit, "the factory pushes to it", async || {
        let id = other.daemon.submit(json!({ "owner": "acme", "repo": "hello", "tag": "v1" })).await;
        let job = other.daemon.wait(&id).await;
        (job["status"] == "success").then_some(job)
    })
    .await;
    let stored = volume.join("data/registry/docker/registry/v2/repositories/totem/acme-hello/_manifests/tags/v1");
    let link = fs::read_to_string(stored.join("current/link")).unwrap();
    assert_eq!(pushed["digest"].as_str(), Some(link.as_str()));
    world.engine.docker(&["stop", "--time", "30", &container.name]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "{}", container.logs());
    other.engine.remove_images(&format!("reference={address}/*/*"));
}
