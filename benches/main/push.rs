//! Push event → manifest in the registry, against the script that one would write instead.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::{DeployKey, KeyType, PASSPHRASE, World, dockercfg, folder, gpg_encrypt, succeed};
use super::{Row, median, ms, poll};

pub const PASSWORD: &str = "registry password";

/// Where the Dockerfile copies the one file that each push changes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Before the big folder, whose layer is then made anew.
    ChangedFirst,
    /// After it: its layer is cached.
    ChangedLast,
}

/// `files` of 3 KB; medians of `rounds`, the daemon and the script by turns on commits of their own.
pub async fn measure(files: usize, order: Order, rounds: usize, target: f64) -> Vec<Row> {
    let mut world = World::start().await;
    let registry = world.registry.direct_address();
    world
        .etcd
        .put("/totem/image-factory/dockercfg", gpg_encrypt(&dockercfg(&registry, "builder", PASSWORD), PASSPHRASE))
        .await;
    world.daemon.set("DOCKER_REPO_BASE", &format!("{registry}/totem"));
    world.daemon.term(Duration::from_secs(10)).await;
    world.daemon.restart().await;
    let script = Script::new(&world, &registry);
    fill(&world, files, order);

    // The text is unique, because the engine's cache may hold the layers of another run.
    let run = registry.rsplit(':').next().unwrap_or_default();
    let (mut ours, mut theirs, mut own, mut parts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    // The first round warms up: layers, the mirror, the synced context.
    for round in 0..=rounds {
        let sha = world.repo.commit("develop", &[("round.txt", &format!("ours {round} of {run}\n"))]);
        let (cpu, start) = (cpu_time(world.daemon.pid()), Instant::now());
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        poll("the daemon's manifest", async || world.registry.has_tag("totem/acme-hello", &sha).then_some(())).await;
        let took = start.elapsed();
        let job = poll("the job has ended", async || {
            let job = world.daemon.job(&id).await;
            matches!(job["status"].as_str(), Some("success" | "failure")).then_some(job)
        })
        .await;
        assert_eq!(job["status"], "success", "{job:#}\n{}", world.daemon.log(&id).await);
        let stages = ["clone", "checkout", "build", "push"].map(|name| stage(&job, name));
        // The checkout is the daemon's own work. The other stages wait for Git, the engine and the registry.
        let whole = start.elapsed().saturating_sub(stages[0] + stages[2] + stages[3]);
        let cpu = cpu_time(world.daemon.pid()) - cpu;

        let sha = world.repo.commit("develop", &[("round.txt", &format!("theirs {round} of {run}\n"))]);
        let start = Instant::now();
        script.run(&sha);
        poll("the script's manifest", async || world.registry.has_tag("totem/script", &sha).then_some(())).await;
        if round > 0 {
            ours.push(took);
            theirs.push(start.elapsed());
            own.push(whole + cpu);
            parts.push(stages);
        }
    }
    world.engine.remove_images(&format!("reference={registry}/*/*"));

    let (ours, theirs, own) = (median(ours), median(theirs), median(own));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    let order = if order == Order::ChangedFirst { "changed file first" } else { "changed file last" };
    let mut rows = vec![Row {
        what: format!("push → manifest, {files} files, {order}"),
        measured: format!("{} ({ratio:.3} × the script's {}); {}", ms(ours), ms(theirs), parts_of(&parts)),
        target: format!("≤ {target} × script"),
        met: ratio <= target,
    }];
    if files == 300 {
        rows.push(Row {
            what: "the daemon's own share of it (outside clone, build and push; and all its CPU)".into(),
            measured: ms(own),
            target: "< 50 ms".into(),
            met: own < Duration::from_millis(50),
        });
    }
    rows
}

pub fn fill(world: &World, files: usize, order: Order) {
    for index in 0..files {
        let path = world.repo.path(&format!("src/{:03}/{index}", index / 100));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut content = String::new();
        while content.len() < 3000 {
            // No two alike, and not easily compressed.
            let _ = write!(content, "{:x}", (index + content.len() + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        std::fs::write(path, content).unwrap();
    }
    let (round, src) = ("COPY round.txt /app/\n", "COPY src /app/src\n");
    let copies = if order == Order::ChangedFirst { [round, src] } else { [src, round] };
    let dockerfile = format!("FROM image-factory-busybox:1\n{}RUN echo done\n", copies.concat());
    world.repo.commit("develop", &[("Dockerfile", &dockerfile), ("round.txt", "first\n")]);
}

/// The medians of the stages.
fn parts_of(rounds: &[[Duration; 4]]) -> String {
    let part = |i: usize| ms(median(rounds.iter().map(|stages| stages[i]).collect()));
    format!("clone {}, checkout {}, build {}, push {}", part(0), part(1), part(2), part(3))
}

/// Returns the duration of a stage of a finished job.
pub fn stage(job: &Value, name: &str) -> Duration {
    let millis = |time: &Value| {
        let format = &time::format_description::well_known::Rfc3339;
        time::OffsetDateTime::parse(time.as_str().unwrap(), format).unwrap().unix_timestamp_nanos() / 1_000_000
    };
    let stage = &job["results"][name];
    Duration::from_millis((millis(&stage["endTime"]) - millis(&stage["startTime"])) as u64)
}

/// Returns the CPU time that a process has used so far without its children, in steps of 10 ms.
fn cpu_time(pid: i32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // Fields 14 and 15, utime and stime, in clock ticks; the second field ends with the last `)`.
    let ticks = stat.rsplit(')').next().unwrap().split_whitespace().skip(11).take(2);
    Duration::from_millis(ticks.map(|tick| tick.parse::<u64>().unwrap() * 10).sum())
}

/// `git clone`, `docker build`, `docker push`, with the same Git transport.
struct Script {
    dir: tempfile::TempDir,
    script: String,
}

impl Script {
    fn new(world: &World, registry: &str) -> Self {
        let dir = folder();
        let path = dir.path().display();
        // ssh reads this key without a passphrase, so the script is spared what decrypting costs.
        let key = DeployKey::generate(KeyType::Ed25519, "");
        world.git.authorize(&[&world.key, &key]);
        std::fs::write(dir.path().join("key"), &key.private).unwrap();
        std::fs::set_permissions(dir.path().join("key"), PermissionsExt::from_mode(0o600)).unwrap();
        login(&dir.path().join("docker"), registry);
        let script = format!(
            "set -e\ncd {path}\nrm -rf work\n\
             export DOCKER_HOST={host} DOCKER_CONFIG={path}/docker DOCKER_BUILDKIT=0\n\
             export GIT_SSH_COMMAND='ssh -F none -i {path}/key -o IdentitiesOnly=yes -o IdentityAgent=none \
             -o UserKnownHostsFile={known}'\n\
             git clone -q --depth 50 --branch develop {url} work\n\
             cd work\ndocker build -q -t {registry}/totem/script:$1 .\ndocker push -q {registry}/totem/script:$1\n",
            host = world.engine.host,
            known = world.git.known_hosts().display(),
            url = world.git.url().replace("{owner}", "acme").replace("{repo}", "hello"),
        );
        Self { script, dir }
    }

    fn run(&self, sha: &str) {
        succeed(Command::new("sh").args(["-c", &self.script, "script", sha]).current_dir(self.dir.path()), b"");
    }
}

fn login(config: &Path, registry: &str) {
    std::fs::create_dir(config).unwrap();
    std::fs::write(config.join("config.json"), dockercfg(registry, "builder", PASSWORD)).unwrap();
}
