//! What jobs of Conveyor's API build, tag and report, and what its command line and settings became.

use std::net::UdpSocket;
use std::process::Output;
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{
    Capture, Cli, Docker, Engine, GitHubApi, PrivateEngine, REGISTRY_PASSWORD, World, dockercfg, eventually, folder,
    masked, push_payload, unique,
};

on_docker!(layers_of_another_engine_are_taken);

const LIMIT: Duration = Duration::from_secs(30);

/// Makes a commit whose image differs from all others', and which the engine has no steps of.
fn commit(world: &World, branch: &str, step: &str) -> String {
    let dockerfile = format!("FROM image-factory-busybox:1\nRUN : {}; {step}\n", unique());
    world.repo.commit(branch, &[("Dockerfile", &dockerfile)])
}

/// Runs the command line beside the test's servers, and returns what it wrote.
async fn run(cli: Cli) -> Output {
    tokio::task::spawn_blocking(|| cli.run()).await.unwrap()
}

fn lines(output: &Output) -> Vec<String> {
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn a_commit_is_built_once_and_its_digest_is_the_last_line() {
    let world = World::start().await;
    let sha = commit(&world, "develop", "echo a st''ep ran");
    let target = format!("acme/hello:{sha}");
    let first = run(world.daemon.cli(&["build", &target])).await;
    assert!(first.status.success(), "{first:?}");
    let said = lines(&first);
    assert!(said.iter().any(|line| line.contains("a step ran")), "{said:#?}");
    let pinned = format!("{}/totem/acme-hello@{}", world.registry.address(), world.digest(&sha).await.unwrap());
    assert_eq!(said.last(), Some(&pinned));
    let jobs = async || world.daemon.get("/job").await.as_array().unwrap().len();

    // The whole id and its beginning name a commit that is built already, and options of a build do not.
    for target in [&target, &format!("acme/hello:{}", &sha[..8])] {
        let again = run(world.daemon.cli(&["build", target])).await;
        assert_eq!((lines(&again), again.status.code()), (vec![pinned.clone()], Some(0)));
        assert!(String::from_utf8_lossy(&again.stderr).contains("built already by job "), "{again:?}");
    }
    assert_eq!(jobs().await, 1);
    for more in [&["--force"][..], &["--build-arg", "A=1"]] {
        let built = run(world.daemon.cli(&[&["build", &target], more].concat())).await;
        let digest = lines(&built).last().unwrap().split_once('@').unwrap().1.to_owned();
        assert!(built.status.success() && digest.starts_with("sha256:"), "{built:?}");
    }
    assert_eq!(jobs().await, 3);

    // A failure has no digest, and is built again when it is asked for again.
    let broken = format!("acme/hello:{}", commit(&world, "broken", "exit 3"));
    for _ in 0..2 {
        let failed = run(world.daemon.cli(&["build", &broken])).await;
        assert_eq!(failed.status.code(), Some(1));
        assert!(!lines(&failed).last().unwrap().contains("@sha256:"), "{failed:?}");
    }
    assert_eq!(jobs().await, 5);
}

#[tokio::test]
async fn a_dry_run_pushes_nothing_and_says_so() {
    let (github, hook) = (GitHubApi::start(), Capture::start(&[]));
    let (url, hook_url) = (github.url(), hook.url());
    let settings = [("GITHUB_API", url.as_str()), ("GITHUB_TOKEN", github.token()), ("HOOK_POST_URL", &hook_url)];
    let world = World::start_with(&settings).await;
    let sha = commit(&world, "develop", "true");
    let target = format!("acme/hello:{sha}");
    let dry = run(world.daemon.cli(&["build", &target, "--dry-run"])).await;
    assert!(dry.status.success(), "{dry:?}");
    let image = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    assert_eq!(lines(&dry).last(), Some(&format!("Dry run: {image} is built, and not pushed")));
    assert!(String::from_utf8_lossy(&dry.stderr).contains("because this was a dry run"), "{dry:?}");
    assert_eq!(world.digest(&sha).await, None);

    let job = world.daemon.get("/job?limit=1").await[0].clone();
    let facts = [&job["status"], &job["dryRun"], &job["digest"], &job["tags"], &job["results"]["push"]["status"]];
    assert_eq!(facts, [&json!("success"), &json!(true), &Value::Null, &json!([]), &json!("success")]);
    let statuses = github.wait(&sha, "success").await;
    let description = &statuses.last().unwrap().description;
    assert!(description.ends_with(". It is not pushed, because this was a dry run."), "{description}");
    let sent: Value = serde_json::from_slice(&hook.wait(1, LIMIT).await[0].body).unwrap();
    assert_eq!((&sent["status"], &sent["dryRun"], &sent["digest"]), (&json!("success"), &json!(true), &Value::Null));
    let shown = run(world.daemon.cli(&["show", job["id"].as_str().unwrap()])).await;
    assert!(
        lines(&shown).contains(&"digest    none: this was a dry run, which pushes nothing".to_owned()),
        "{shown:?}"
    );

    // The commit does not count as built.
    let pushed = run(world.daemon.cli(&["build", &target])).await;
    let digest = world.digest(&sha).await.unwrap();
    assert!(lines(&pushed).last().unwrap().ends_with(&format!("@{digest}")), "{pushed:?}");
}

/// Receives the datagrams of a DogStatsD client, each with its kind, value and tags.
struct Agent(UdpSocket);

#[derive(Debug, PartialEq)]
struct Datagram {
    name: String,
    value: String,
    kind: String,
    tags: Vec<String>,
}

impl Agent {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    fn url(&self) -> String {
        format!("dogstatsd://{}", self.0.local_addr().unwrap())
    }

    async fn next(&self) -> Datagram {
        let mut buffer = [0; 8192];
        let received = async || self.0.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec());
        let bytes = eventually(LIMIT, "a datagram has come", received).await;
        parse(std::str::from_utf8(&bytes).unwrap())
    }
}

/// Reads a datagram as <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/> describes it.
fn parse(text: &str) -> Datagram {
    let tags = |text: &str| text.strip_prefix('#').unwrap().split(',').map(str::to_owned).collect();
    if let Some(event) = text.strip_prefix("_e{") {
        let (lengths, rest) = event.split_once("}:").unwrap();
        let lengths: Vec<usize> = lengths.split(',').map(|length| length.parse().unwrap()).collect();
        let (title, rest) = rest.split_at(lengths[0]);
        let (body, rest) = rest.strip_prefix('|').unwrap().split_at(lengths[1]);
        let tags = tags(rest.strip_prefix('|').unwrap());
        return Datagram { name: title.into(), value: body.into(), kind: "event".into(), tags };
    }
    let parts: Vec<&str> = text.split('|').collect();
    let [value, kind, of] = parts[..] else { panic!("{text}") };
    let (name, value) = value.split_once(':').unwrap();
    Datagram { name: name.into(), value: value.into(), kind: kind.into(), tags: tags(of) }
}

#[tokio::test]
async fn an_agent_gets_timings_errors_and_events() {
    let agent = Agent::start();
    let world = World::start_with(&[("STATS", &agent.url())]).await;
    let sha = commit(&world, "feature/x", "true");
    let id = world.daemon.push_event("acme/hello", "feature/x", &sha).await;
    world.daemon.wait_success(&id).await;
    let timing = agent.next().await;
    let took: u64 = timing.value.parse().unwrap();
    assert!(took > 0);
    let repo = || vec!["repo:acme/hello".to_owned()];
    let metric =
        |name: &str, value: String, kind: &str| Datagram { name: name.into(), value, kind: kind.into(), tags: repo() };
    assert_eq!(timing, metric("conveyor.build.time", took.to_string(), "ms"));
    let image = format!("{}/totem/acme-hello:{sha}", world.registry.address());
    let tags = [repo(), vec!["branch:feature/x".into(), format!("sha:{sha}"), format!("image:{image}")]].concat();
    let (name, value) = (format!("Conveyor built {image}"), format!("Built {image} from acme/hello@feature/x"));
    assert_eq!(agent.next().await, Datagram { name, value, kind: "event".into(), tags });

    let sha = commit(&world, "feature/x", "exit 3");
    let id = world.daemon.push_event("acme/hello", "feature/x", &sha).await;
    world.daemon.wait_failure(&id).await;
    assert_eq!(agent.next().await, metric("conveyor.build.error", "1".into(), "c"));
}

/// Sends a push to Conveyor's webhook, and returns the answer's text: the job's id, or why there is none.
async fn hook(world: &World, branch: &str, sha: &str, message: &str) -> String {
    let mut body = push_payload("acme/hello", &format!("refs/heads/{branch}"), sha);
    body["head_commit"]["message"] = message.into();
    body["mine"] = unique().into();
    let body = body.to_string();
    let signature = format!("sha1={}", world.daemon.sha1(&body));
    let request = world.daemon.bare_request(Method::POST, "/").header("X-Hub-Signature", signature);
    let answer = request.header("X-GitHub-Event", "push").body(body).send().await.unwrap();
    answer.text().await.unwrap()
}

/// Makes a build by `POST /builds`, and returns its id.
async fn asked(world: &World, more: Value) -> String {
    let mut body = json!({"repository": "acme/hello"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let answer = world.daemon.request(Method::POST, "/builds").json(&body).send().await.unwrap();
    let build: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
    build["id"].as_str().unwrap_or_else(|| panic!("{build}")).to_owned()
}

/// Returns the tags that the job's image has got.
fn tags(job: &Value) -> Vec<&str> {
    let names = job["tags"].as_array().unwrap().iter().filter(|tag| tag["digest"].is_string());
    names.map(|tag| tag["name"].as_str().unwrap().rsplit_once(':').unwrap().1).collect()
}

#[tokio::test]
async fn a_push_gets_the_tags_the_statuses_and_the_words_of_conveyor() {
    let github = GitHubApi::start();
    let url = github.url();
    let settings = [("GITHUB_API", url.as_str()), ("GITHUB_TOKEN", github.token()), ("IMAGE_TAGS", "{short_sha}")];
    let world = World::start_with(&settings).await;
    let main = commit(&world, "develop", "true");
    let id = hook(&world, "develop", &main, "A change").await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!(tags(&job), [&*main, "develop", "latest"]);
    let statuses = github.wait(&main, "success").await;
    let took = regex::Regex::new("built in [0-9.ms]+").unwrap();
    let shown = took.replace_all(&format!("{statuses:#?}"), "built in [time]").into_owned();
    insta::assert_snapshot!(masked(&shown, &[(&id, "job"), (&main, "sha")]));

    let feature = commit(&world, "feature/x", "true");
    let job = world.daemon.wait_success(&hook(&world, "feature/x", &feature, "").await).await;
    assert_eq!(tags(&job), [&*feature, "feature-x"]);
    assert_eq!(world.digest("latest").await, world.digest(&main).await);

    // The push is left out, and whoever asks for its commit gets it, without a branch's tag.
    let skipped = commit(&world, "develop", "true");
    let said = hook(&world, "develop", &skipped, "Typo [docker skip]").await;
    assert_eq!(said, "Not building: the commit's message has [docker skip]");
    let deliveries = world.daemon.get("/deliveries?limit=1").await;
    assert_eq!(deliveries[0]["skipped"], "docker-skip");
    let job = world.daemon.wait_success(&asked(&world, json!({"sha": skipped})).await).await;
    assert_eq!(tags(&job), [&*skipped]);

    // The words are those of the commit, whoever asks for it.
    let id = asked(&world, json!({"branch": "develop"})).await;
    world.daemon.wait_success(&id).await;
    assert!(!world.daemon.log(&id).await.contains(" --no-cache "));
    world.repo.git(&["commit", "-q", "--allow-empty", "-m", "Anew [docker nocache]"]);
    world.repo.git(&["push", "-q", "origin", "HEAD:refs/heads/develop"]);
    let id = asked(&world, json!({"branch": "develop"})).await;
    world.daemon.wait_success(&id).await;
    let log = world.daemon.log(&id).await;
    assert!(log.contains("has [docker nocache]: every step runs\n") && log.contains(" --no-cache "), "{log}");
    assert_eq!(github.faults(), [""; 0]);
}

#[tokio::test]
async fn latest_may_move_with_every_build_and_a_dry_factory_pushes_nothing() {
    let mut world = World::start_with(&[("LATEST", "always")]).await;
    let sha = commit(&world, "feature/x", "true");
    let job = world.daemon.wait_success(&asked(&world, json!({"branch": "feature/x"})).await).await;
    assert_eq!(tags(&job), [&*sha, "feature-x", "latest"]);
    // Without a branch, too.
    let sha = commit(&world, "feature/x", "true");
    let job = world.daemon.wait_success(&asked(&world, json!({"sha": sha})).await).await;
    assert_eq!(tags(&job), [&*sha, "latest"]);

    world.daemon.set("DRY", "1");
    world.daemon.term(LIMIT).await;
    world.daemon.restart().await;
    let sha = commit(&world, "feature/x", "true");
    let id = asked(&world, json!({"sha": sha})).await;
    let job = world.daemon.wait_success(&id).await;
    assert_eq!((&job["dryRun"], &job["digest"], world.digest(&sha).await), (&json!(true), &Value::Null, None));
    assert!(world.daemon.log(&id).await.contains("\nDry run: not pushed: "), "{}", world.daemon.log(&id).await);
    let artifact = async || {
        let request = world.daemon.request(Method::GET, &format!("/artifacts/acme/hello@{sha}"));
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(artifact().await, 404);
    // The setting is about the jobs of this API alone.
    let pushed = world.daemon.submit(json!({"owner": "acme", "repo": "hello", "commit": sha})).await;
    world.daemon.wait_success(&pushed).await;
    assert!(world.digest(&sha).await.is_some());
    // A later dry run does not hide what was pushed.
    world.daemon.wait_success(&asked(&world, json!({"sha": sha})).await).await;
    assert_eq!(artifact().await, 200);
}

/// The engines have one version, because builders of two versions do not know each other's steps.
async fn layers_of_another_engine_are_taken(docker: Docker) {
    let other = PrivateEngine::start(docker).await;
    let mut world = World::start_at(Engine::of(docker), &[("INLINE_CACHE", "1")]).await;
    other.reach(&world.registry.address());
    // Each engine has imported its own base image, so the common one is in the registry.
    let base = format!("{}/totem/base:1", world.registry.address());
    let login = folder();
    let config = dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD);
    std::fs::write(login.path().join("config.json"), config).unwrap();
    world.engine.docker(&["tag", "image-factory-busybox:1", &base]);
    world.engine.docker(&["--config", login.path().to_str().unwrap(), "push", &base]);
    let dockerfile = format!("FROM {base}\nRUN cat /proc/sys/kernel/random/uuid > /id # {}\nCOPY n /\n", unique());
    let own = world.engine.host.clone();
    for builder in ["buildkit", "classic"] {
        let repo = world.git.repo("acme", builder);
        let build = async |world: &mut World, host: &str, n: &str| {
            world.daemon.set("BUILDER", builder);
            world.daemon.set("DOCKER_HOST", host);
            world.daemon.term(LIMIT).await;
            world.daemon.restart().await;
            repo.commit("develop", &[("Dockerfile", &dockerfile), ("n", n)]);
            let id = asked(world, json!({"repository": format!("acme/{builder}"), "branch": "develop"})).await;
            world.daemon.wait_success(&id).await;
            world.daemon.log(&id).await
        };
        let image = format!("{}/totem/acme-{builder}:develop", world.registry.address());
        let log = build(&mut world, &own, "1").await;
        assert!(log.contains(&format!("{image} is not taken as a cache: ")), "{log}");
        let made = world.engine.run(&image, &["cat", "/id"]);

        let log = build(&mut world, &other.engine.host, "2").await;
        assert!(log.contains(&format!("The layers of {image} (sha256:")), "{log}");
        assert_eq!(other.engine.run(&image, &["cat", "/id", "/n"]), format!("{made}\n2"), "{log}");
        // An engine with an image of its own asks no registry.
        let log = build(&mut world, &other.engine.host, "3").await;
        assert!(!log.contains("taken as a cache"), "{log}");
        assert_eq!(other.engine.run(&image, &["cat", "/n"]), "3");
    }
}
