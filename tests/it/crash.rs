//! The daemon is killed again and again while webhooks and requests come in by four APIs; nothing may be lost, and nothing
//! is left behind.
//!
//! `CRASH_KILLS` (20) says how often; `CRASH_SEED` repeats a run's choices, which the test prints.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use fastrand::Rng;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::timeout;
use uuid::Uuid;

use crate::harness::container::compose_image;
use crate::harness::{
    CI_TOKEN, COMPOSE_CI, Capture, Engine, GitHubApi, Received, Repo, World, eventually, http_client, processes_of,
    push_payload, unique,
};

const REPOS: [&str; 3] = ["hello", "world", "again"];
const STAGES: [&str; 5] = ["clone", "checkout", "build", "test", "push"];
/// Command that tests the jobs of compose-ci's API.
const HOOK: &str = "sh -c 'cat n && sleep 0.2'";
/// A project whose service of tests is built from the commit, with a service and a volume beside it.
const PROJECT: &str = r#"version: "2.4"
services:
  db: {image: image-factory-busybox:1, command: sleep 1000, volumes: ["data:/data"]}
  tests:
    build: .
    image: IMAGE:${short_commit}
    depends_on: [db]
    command: sh -c "cat /n && sleep 0.2"
volumes: {data: {}}
"#;
/// A job that was cloned at three deaths of the daemon, at the last one alone, counts as what kills it. One that was begun
/// so often is left to end.
const ATTEMPTS: u64 = 2;
const LIMIT: Duration = Duration::from_secs(120);

/// The way in which jobs of compose-ci's API are tested.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tests {
    /// By [`HOOK`].
    Hook,
    /// By [`PROJECT`].
    Compose,
}

/// The API by which a job comes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Door {
    Totem,
    Conveyor,
    /// Nothing in its request tells a second one from the first.
    Generator,
    ComposeCi,
}

/// A delivery that is sent until it is answered, and sometimes again.
struct Delivery {
    door: Door,
    repo: &'static str,
    /// The commit, or for generator's API the tag of the image.
    sha: String,
    /// The body, or the query.
    body: String,
    signature: String,
    /// The id of the job in each answer.
    answers: Vec<String>,
}

/// When the daemon is killed.
#[derive(Debug, Clone, Copy)]
enum Aim {
    /// This long after the daemon was started, which is mostly before it is ready.
    Start(Duration),
    /// This long after this stage of some job began.
    Stage(&'static str, Duration),
    /// This long after the daemon answered a webhook.
    Answer(Duration),
    /// This long after the daemon sent the notification of an outcome.
    Told(Duration),
}

impl Aim {
    fn draw(rng: &mut Rng, tests: Tests) -> Self {
        if tests == Tests::Compose && rng.bool() {
            // Docker Compose takes seconds for its steps.
            return Self::Stage("test", Duration::from_millis(rng.u64(..6000)));
        }
        let mut after = |limit| Duration::from_millis(rng.u64(..limit));
        let (soon, long) = (after(300), after(1500));
        match rng.u8(..10) {
            0 | 1 => Self::Start(long),
            2 | 3 => Self::Answer(soon / 10),
            4 => Self::Told(soon / 5),
            _ => Self::Stage(STAGES[rng.usize(..STAGES.len())], soon),
        }
    }
}

struct Crash {
    client: reqwest::Client,
    url: String,
    token: String,
    deliveries: Mutex<Vec<Delivery>>,
}

impl Crash {
    /// Sends this delivery; whether it was accepted. One that is cut off is neither.
    async fn send(&self, index: usize) -> bool {
        let (door, body, signature) = {
            let Delivery { door, body, signature, .. } = &self.deliveries.lock().await[index];
            (*door, body.clone(), signature.clone())
        };
        let hook = |path: &str| {
            self.client
                .post(format!("{}{path}", self.url))
                .header("Content-Type", "application/json")
                .header("X-GitHub-Event", "push")
                .header("X-GitHub-Delivery", unique())
                .header("X-Hub-Signature-256", format!("sha256={signature}"))
                .body(body.clone())
        };
        let compose_ci = format!("{}/?token={CI_TOKEN}", self.url);
        let (request, status) = match door {
            Door::ComposeCi => (self.client.post(compose_ci).body(body), 202),
            Door::Totem => (hook("/hooks/github"), 201),
            // No route takes this, so it is Conveyor's.
            Door::Conveyor => (hook("/"), 200),
            Door::Generator => (self.client.get(format!("{}/b1/build?{body}", self.url)).bearer_auth(&self.token), 200),
        };
        let Ok(answer) = request.send().await else { return false };
        assert_eq!(answer.status(), status, "{door:?}");
        let Ok(text) = answer.text().await else { return false };
        let id = match door {
            Door::Totem => serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned(),
            Door::Conveyor | Door::Generator | Door::ComposeCi => text.trim().parse::<Uuid>().unwrap().to_string(),
        };
        self.deliveries.lock().await[index].answers.push(id);
        true
    }

    async fn unanswered(&self) -> Vec<usize> {
        let deliveries = self.deliveries.lock().await;
        (0..deliveries.len()).filter(|&index| deliveries[index].answers.is_empty()).collect()
    }

    /// All jobs; None while it does not answer.
    async fn jobs(&self) -> Option<Vec<Value>> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let before = all.last().map(|job| format!("&cursor={}", job["id"].as_str().unwrap()));
            let url = format!("{}/job?limit=1000{}", self.url, before.unwrap_or_default());
            let answer = self.client.get(url).bearer_auth(&self.token).send().await.ok()?;
            let page: Vec<Value> = answer.error_for_status().ok()?.json().await.ok()?;
            if page.is_empty() {
                return Some(all);
            }
            all.extend(page);
        }
    }

    async fn have_ended(&self) -> Option<bool> {
        let ended = |job: &Value| !matches!(job["status"].as_str(), Some("pending" | "running"));
        Some(self.jobs().await?.iter().all(ended))
    }
}

#[tokio::test]
async fn no_job_is_lost_when_the_daemon_is_killed() {
    kill_again_and_again(Tests::Hook).await;
}

/// The same with jobs that Docker Compose tests. They take longer, so there are fewer kills.
#[tokio::test]
async fn no_job_of_compose_is_lost_when_the_daemon_is_killed() {
    kill_again_and_again(Tests::Compose).await;
}

async fn kill_again_and_again(tests: Tests) {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
    let kills = number("CRASH_KILLS").unwrap_or(20) as usize;
    let (kills, limit) = match tests {
        Tests::Hook => (kills, LIMIT),
        Tests::Compose => (kills.div_ceil(4), LIMIT * 4),
    };
    let seed = number("CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CRASH_SEED={seed} CRASH_KILLS={kills}");
    let begun = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let receivers = [Capture::start(&[]), Capture::start(&[])];
    let urls = format!("{},{}", receivers[0].url(), receivers[1].url());
    // This GitHub knows one of the repositories.
    let github = GitHubApi::start();
    let api = github.url();
    let settings = [("HOOK_POST_URL", urls.as_str()), ("GITHUB_API", &api), ("GITHUB_TOKEN", github.token())];
    let own = [("CONCURRENCY", "3"), ("IMAGES_ALLOWED", "generator=127.0.0.1:*/cts/*")];
    let (image, tested): (String, &[_]) = match tests {
        Tests::Hook => (String::new(), &[("HOOK", HOOK)]),
        Tests::Compose => (compose_image(&Engine::shared(), "2"), &[("HOOK_SOCKET", "acme/*")]),
    };
    let tested = [tested, &[("BUILD_IMAGE", image.as_str())]].concat();
    let mut world = World::start_with(&[&COMPOSE_CI[..], &settings, &own, &tested].concat()).await;
    let mark = unique();
    let repos: Vec<Repo> = REPOS.iter().map(|name| repo(&world, name, &mark, tests)).collect();
    let doors = match tests {
        Tests::Hook => [Door::Totem, Door::ComposeCi, Door::Conveyor, Door::Generator],
        Tests::Compose => [Door::Totem, Door::ComposeCi, Door::ComposeCi, Door::ComposeCi],
    };
    let crash = Arc::new(Crash {
        client: http_client(),
        url: world.daemon.url(),
        token: world.daemon.token(),
        deliveries: Mutex::default(),
    });

    for round in 0..kills {
        // About one new job a kill; now and then a burst of them.
        let new = [0, 1, 1, 1, 3][rng.usize(..5)];
        for _ in 0..new {
            let door = doors[rng.usize(..doors.len())];
            if door == Door::Generator {
                let sha = format!("r{round}-{}", rng.u64(..));
                let dockerfile = format!("FROM image-factory-busybox:1\nRUN test -n {mark} && echo {sha} > /copy\n");
                let image = format!("{}/cts/example:{sha}", world.registry.address());
                let body = format!("imagename={image}&dockerfile={}", URL_SAFE.encode(dockerfile));
                let delivery = Delivery { door, repo: "example", sha, body, signature: String::new(), answers: vec![] };
                crash.deliveries.lock().await.push(delivery);
                continue;
            }
            let which = rng.usize(..REPOS.len());
            let sha = repos[which].commit("develop", &[("n", &format!("{round} {}", rng.u64(..)))]);
            let body = push_payload(&format!("acme/{}", REPOS[which]), "refs/heads/develop", &sha).to_string();
            let signature = world.daemon.sha256(&body);
            let delivery = Delivery { door, repo: REPOS[which], sha, body, signature, answers: vec![] };
            crash.deliveries.lock().await.push(delivery);
        }
        let total = crash.deliveries.lock().await.len();
        let again = (total > 0 && rng.u8(..4) == 0).then(|| rng.usize(..total));
        let (theirs, aim) = (crash.clone(), Aim::draw(&mut rng, tests));
        let (answered, mut answers) = tokio::sync::watch::channel(0);
        let sender = tokio::spawn(async move {
            let mut todo = theirs.unanswered().await;
            todo.extend(again);
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            for index in todo {
                // While it starts, nobody listens.
                while !theirs.send(index).await {
                    tick.tick().await;
                }
                answered.send_modify(|n| *n += 1);
            }
        });
        let spared = |job: &Value| {
            job["attempt"].as_u64() >= Some(ATTEMPTS) && matches!(job["status"].as_str(), Some("pending" | "running"))
        };
        eventually(limit, "a job ends, if nobody kills", async || {
            (!crash.jobs().await?.iter().any(spared)).then_some(())
        })
        .await;
        let told = receivers[0].requests().len();
        // The daemon is killed even if the event does not come in time.
        let aimed = timeout(Duration::from_secs(3), async {
            match aim {
                Aim::Start(_) => {}
                Aim::Answer(_) => drop(answers.changed().await),
                Aim::Told(_) => {
                    eventually(LIMIT, "it tells", async || (receivers[0].requests().len() > told).then_some(())).await
                }
                Aim::Stage(stage, _) => {
                    let runs = |jobs: Vec<Value>| jobs.iter().any(|job| job["results"][stage]["status"] == "running");
                    eventually(LIMIT, stage, async || crash.jobs().await.is_some_and(runs).then_some(())).await;
                }
            }
        });
        let _ = aimed.await;
        let (Aim::Start(after) | Aim::Stage(_, after) | Aim::Answer(after) | Aim::Told(after)) = aim;
        // When a machine fails is nobody's to wait for.
        tokio::time::sleep(after).await;
        world.daemon.kill9();
        sender.abort();
        let _ = sender.await;
        world.daemon.spawn();
    }
    let killed = begun.elapsed();

    // The daemon is not killed from now on.
    eventually(LIMIT, "all is answered", async || {
        for index in crash.unanswered().await {
            crash.send(index).await;
        }
        crash.unanswered().await.is_empty().then_some(())
    })
    .await;
    let deliveries = std::mem::take(&mut *crash.deliveries.lock().await);
    eventually(limit * 2, "all jobs have ended", async || crash.have_ended().await?.then_some(())).await;
    let jobs: BTreeMap<String, Value> =
        crash.jobs().await.unwrap().into_iter().map(|job| (job["id"].as_str().unwrap().to_owned(), job)).collect();
    // A request of generator's API that was cut off may have made a job, and the client asks for another one.
    let known: BTreeSet<&String> = deliveries.iter().flat_map(|delivery| &delivery.answers).collect();
    let unknown: Vec<_> = jobs.iter().filter(|(id, _)| !known.contains(id)).collect();
    assert!(unknown.iter().all(|(_, job)| job["context"]["owner"] == "generator"), "{unknown:#?}");
    assert!(jobs.values().all(|job| job["status"] == "success"), "{jobs:#?}");
    let told = |receiver: &Capture, id: &str| -> BTreeSet<String> {
        let of = |request: &&Received| {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["job"]["id"] == id && body["status"] == "success"
        };
        let id = |request: &Received| request.headers["x-hook-id"].to_str().unwrap().to_owned();
        receiver.requests().iter().filter(of).map(id).collect()
    };
    let mut ids = BTreeSet::new();
    for Delivery { door, repo, sha, answers, .. } in &deliveries {
        let repository = match door {
            Door::Totem | Door::Conveyor | Door::ComposeCi => format!("totem/acme-{repo}"),
            Door::Generator => format!("cts/{repo}"),
        };
        let (digest, _) = world.registry.manifest(&repository, sha).await.expect("an image that was built");
        if *door != Door::Generator {
            let own: BTreeSet<_> = answers.iter().collect();
            assert_eq!(own.len(), 1, "one delivery, one job: {answers:?}");
            let job = &jobs[&answers[0]];
            assert_eq!((&job["context"]["commit"], &job["context"]["repo"]), (&sha.as_str().into(), &(*repo).into()));
            assert_eq!(job["digest"], digest);
            let config = world.registry.config(&repository, sha).await.unwrap();
            assert_eq!(config["config"]["Labels"]["org.opencontainers.image.revision"], *sha);
            let own_tests = format!("{repository}/tests");
            let is_tested = (tests, *door) == (Tests::Compose, Door::ComposeCi);
            assert_eq!(world.registry.has_tag(&own_tests, &sha[..7]), is_tested, "{own_tests}:{sha}");
        }
        if *repo == REPOS[0] {
            let is_last = |state| github.statuses(sha).last().is_some_and(|status| status.state == state);
            eventually(LIMIT, "GitHub knows the outcome", async || is_last("success").then_some(())).await;
        }
    }
    for (id, receiver) in jobs.keys().flat_map(|id| receivers.iter().map(move |receiver| (id, receiver))) {
        eventually(LIMIT, "each outcome is told", async || (!told(receiver, id).is_empty()).then_some(())).await;
        let own = told(receiver, id);
        assert_eq!(own.len(), 1, "an outcome has one id: {own:?}");
        ids.extend(own);
    }
    assert_eq!(ids.len(), 2 * jobs.len(), "each destination has ids of its own");
    let attempts: u64 = jobs.values().map(|job| job["attempt"].as_u64().unwrap()).sum();

    let content =
        |sha: &str| world.engine.run(&format!("{}/totem/acme-hello:{sha}", world.registry.address()), &["cat", "/n"]);
    if let Some(sample) = deliveries.iter().rev().find(|delivery| delivery.repo == "hello") {
        assert_eq!(content(&sample.sha), repos[0].git(&["show", &format!("{}:n", sample.sha)]));
    }
    world.daemon.term(Duration::from_secs(10)).await;
    let left = world.engine.of_jobs(|job| jobs.contains_key(job));
    assert!(left.is_empty(), "{left:?} of tests are left");
    nothing_is_left(&world, &mark).await;
    println!(
        "{kills} kills in {:.1} s, {} jobs in {attempts} attempts, none lost; all done after {:.1} s",
        killed.as_secs_f64(),
        jobs.len(),
        begun.elapsed().as_secs_f64()
    );
}

fn repo(world: &World, name: &str, mark: &str, tests: Tests) -> Repo {
    let repo = world.git.repo("acme", name);
    // A context of some files, and a step that each commit runs anew.
    let dockerfile = format!("FROM image-factory-busybox:1\nCOPY n /n\nRUN test -n {mark} && cat /n > /copy\n");
    let project = PROJECT.replace("IMAGE", &format!("{}/totem/acme-{name}/tests", world.registry.address()));
    let files = [("Dockerfile", dockerfile.as_str()), ("n", "0"), ("src/a", "a"), ("src/b", "b")];
    let project: &[_] = if tests == Tests::Compose { &[("docker-compose.yml", project.as_str())] } else { &[] };
    repo.commit("develop", &[&files, project].concat());
    repo
}

async fn nothing_is_left(world: &World, mark: &str) {
    let data = world.daemon.data_dir();
    let name = data.display().to_string();
    eventually(Duration::from_secs(20), "no process is left", async || {
        (processes_of(&name).is_empty() && processes_of(mark).is_empty()).then_some(())
    })
    .await;
    for (what, list) in [
        ("containers", ["ps", "--all", "--no-trunc", "--format", "{{.Command}} {{.Image}}"]),
        ("networks", ["network", "ls", "--no-trunc", "--format", "{{.Name}} {{.Labels}}"]),
    ] {
        let left = world.engine.docker(&list);
        assert!(!left.contains(mark) && !left.contains(&world.registry.address()), "{what} are left: {left}");
    }
    let mut left = Vec::new();
    let mut folders = vec![data.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let kind = entry.file_type().unwrap();
            let is_temporary = name.starts_with("tmp_") || name.starts_with('.') || name.contains(".tmp");
            let is_half = [".lock", ".new", ".old"].iter().any(|end| name.ends_with(end));
            if is_temporary || is_half || !(kind.is_file() || kind.is_dir()) {
                left.push(path.strip_prefix(&data).unwrap().to_path_buf());
            }
            if kind.is_dir() {
                folders.push(path);
            }
        }
    }
    assert!(left.is_empty(), "files are left: {left:?}");
}
