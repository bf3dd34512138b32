//! The daemon's memory while 8 hostile jobs and 8 good ones run, all within bounds, and what that costs the good ones.

use std::process::Command;
use std::time::{Duration, Instant};

use image_factory::model::Millis;

use super::harness::{Repo, World, succeed, unique};
use super::{Row, median, ms};

const JOBS: usize = 8;
/// Files of a large tree.
const FILES: usize = 200_000;
const FROM: &str = "FROM image-factory-busybox:1\n";

pub async fn measure() -> Vec<Row> {
    let concurrency = (2 * JOBS).to_string();
    let world = World::start_with(&[("CONCURRENCY", &concurrency)]).await;
    let good: Vec<_> = (0..JOBS).map(|n| (format!("good{n}"), world.git.repo("acme", &format!("good{n}")))).collect();
    // The first round makes the mirrors.
    good_jobs(&world, &good).await;
    let alone = good_jobs(&world, &good).await;

    let mut hostile = Vec::new();
    for n in 0..JOBS {
        let (name, repo) = (format!("hostile{n}"), world.git.repo("acme", &format!("hostile{n}")));
        let sha = match n {
            0..4 => large_tree(&repo, FILES, "large\n", "Dockerfile"),
            4..6 => large_tree(&repo, FILES, &heavy_patterns(), "Dockerfile l*/*/x*"),
            _ => flood(&repo),
        };
        hostile.push((name, sha));
    }
    let pid = world.daemon.pid();
    // From here on the kernel's high-water mark is of what follows.
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
    let mut ids = Vec::new();
    for (name, sha) in &hostile {
        ids.push(world.daemon.push_event(&format!("acme/{name}"), "develop", sha).await);
    }
    let beside = good_jobs(&world, &good).await;
    for id in &ids {
        // One that the engine cannot take in time is no failure of this measurement.
        let job = ended(&world, id).await;
        eprintln!("{id}: {} {}", job["status"], job["cause"]);
    }
    let peak = status_kib(pid, "VmHWM:") as f64 / 1024.0;
    let ratio = beside.as_secs_f64() / alone.as_secs_f64();
    vec![
        Row {
            what: format!("memory, {JOBS} hostile and {JOBS} good jobs at once"),
            measured: format!("{peak:.0} MiB at most"),
            target: "< 400 MiB".into(),
            met: peak < 400.0,
        },
        Row {
            what: format!("{JOBS} good jobs at once, push → end, beside {JOBS} hostile ones"),
            measured: format!("{} ({ratio:.2} × the {} of the good ones alone)", ms(beside), ms(alone)),
            target: "≤ 1.3 × alone".into(),
            met: ratio <= 1.3,
        },
    ]
}

/// The daemon's memory while jobs with as many files as there may be are pushed at once: first without a table of file times,
/// then with one. Each job succeeds in its first attempt.
pub async fn trees() -> Vec<Row> {
    const FILES: usize = 990_000;
    let world = World::start_with(&[("CONCURRENCY", "4")]).await;
    let pid = world.daemon.pid();
    let repos: Vec<_> = (0..3).map(|n| (format!("large{n}"), world.git.repo("acme", &format!("large{n}")))).collect();
    let good = [("good".to_owned(), world.git.repo("acme", "good"))];
    good_jobs(&world, &good).await;
    let mut rows = Vec::new();
    for round in ["new", "known"] {
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5").unwrap();
        let (start, mut ids) = (Instant::now(), Vec::new());
        for (name, repo) in &repos {
            let sha = large_tree(repo, FILES, "large\n", "Dockerfile");
            ids.push(world.daemon.push_event(&format!("acme/{name}"), "develop", &sha).await);
        }
        let beside = good_jobs(&world, &good).await;
        for id in &ids {
            let job = ended(&world, id).await;
            assert!(job["status"] == "success" && job["attempt"] == 1, "{job:#}");
        }
        let peak = status_kib(pid, "VmHWM:") as f64 / 1024.0;
        rows.push(Row {
            what: format!("memory, {} {round} trees of {FILES} files at once", repos.len()),
            measured: format!("{peak:.0} MiB at most, all within {}; a good job {}", ms(start.elapsed()), ms(beside)),
            target: "< 512 MiB (MEMORY_BUDGET)".into(),
            met: peak < 512.0,
        });
    }
    rows
}

/// Pushes to all of these repositories at once. Returns the median of the times to the end of a job.
async fn good_jobs(world: &World, repos: &[(String, Repo)]) -> Duration {
    let mut begun = Vec::new();
    for (name, repo) in repos {
        let dockerfile = format!("{FROM}COPY . /src\nRUN : {}; sleep 5\n", unique());
        let sha = repo.commit("develop", &[("Dockerfile", &dockerfile), ("main.c", &unique())]);
        begun.push((Millis::now(), world.daemon.push_event(&format!("acme/{name}"), "develop", &sha).await));
    }
    let took = begun.into_iter().map(|(start, id)| async move {
        let job = ended(world, &id).await;
        assert_eq!(job["status"], "success", "{job:#}");
        let end = job["endTime"].as_str().unwrap().parse::<Millis>().unwrap();
        Duration::from_millis((end.0 - start.0) as u64)
    });
    median(futures_util::future::join_all(took).await)
}

/// Waits for the end of a job, and returns the job. Asking often would take the time of the jobs.
async fn ended(world: &World, id: &str) -> serde_json::Value {
    let end = Instant::now() + Duration::from_secs(600);
    while Instant::now() < end {
        let job = world.daemon.job(id).await;
        if matches!(job["status"].as_str(), Some("success" | "failure")) {
            return job;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!("job {id} does not end")
}

/// Pushes a commit of this many files, which are one blob in folders that are one tree.
fn large_tree(repo: &Repo, files: usize, ignored: &str, sources: &str) -> String {
    let mktree = |lines: String| git(repo, &["mktree"], &lines);
    let blob = |text: &str| git(repo, &["hash-object", "-w", "--stdin"], text);
    let file = blob("x");
    let folder = mktree((0..1000).map(|n| format!("100644 blob {file}\ta-file-of-usual-length-{n:04}.rs\n")).collect());
    let large = mktree((0..files / 1000).map(|n| format!("040000 tree {folder}\tfolder{n:04}\n")).collect());
    let dockerfile = blob(&format!("{FROM}COPY {sources} /\nRUN : {}\n", unique()));
    let entries = [("100644 blob", &*blob(ignored), ".dockerignore"), ("100644 blob", &dockerfile, "Dockerfile")];
    let entries = entries.into_iter().chain([("040000 tree", &*large, "large")]);
    let root = mktree(entries.map(|(kind, id, name)| format!("{kind} {id}\t{name}\n")).collect());
    let commit = ["-c", "user.name=bench", "-c", "user.email=bench@example.com", "commit-tree", &root];
    let commit = git(repo, &commit, "A large tree");
    git(repo, &["update-ref", "refs/heads/develop", &commit], "");
    commit
}

/// 3,000 patterns with wildcards, which match nothing of a large tree.
fn heavy_patterns() -> String {
    (0..3000).map(|n| format!("large/*/b*-{n}-*/**/*.log\n")).collect()
}

/// Pushes a build whose log is far over its limit.
fn flood(repo: &Repo) -> String {
    let steps: String = (0..10).map(|n| format!("RUN : {n} {}; yes | head -c 20000000\n", unique())).collect();
    repo.commit("develop", &[("Dockerfile", &format!("{FROM}{steps}"))])
}

fn git(repo: &Repo, args: &[&str], input: &str) -> String {
    let output = succeed(Command::new("git").arg("-C").arg(&repo.bare).args(args), input.as_bytes());
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns a value of /proc/PID/status in KiB.
fn status_kib(pid: i32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
