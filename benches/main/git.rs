//! Big repositories: how long a first clone and a fetch take, what Git and we need of memory for it, and what a context
//! of 100,000 files costs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use image_factory::git::{Git, GitConfig, RepoSource};
use image_factory::model::{CommitSpec, GitRef, RepoName};
use image_factory::secrets::Secrets;

use super::harness::{Log, Repo, World, folder};
use super::push::stage;
use super::{Row, median, ms, poll};

/// The first copies are of 140 MB, and cached from the second build on.
const DOCKERFILE: &str = "FROM image-factory-busybox:1\nCOPY large /app/\nCOPY d00* /app/\nCOPY round.txt /app/\n";

/// 500 MB in 2,000 commits, by ssh.
pub async fn big() -> Vec<Row> {
    let world = World::start().await;
    let mut import = Import::start(&world.repo.bare);
    for commit in 0..2000 {
        import.commit();
        if commit == 0 {
            import.file("Dockerfile", DOCKERFILE.as_bytes());
            import.file("round.txt", b"0");
            // One of them is large.
            import.file("large", &noise(1_000_000, 100 << 20));
        }
        for file in 0..5 {
            let number = commit * 5 + file;
            import.file(&format!("d{:03}/f{number:05}", number % 100), &noise(number, 42_000));
        }
    }
    import.finish();

    let watch = Watch::start(world.daemon.pid());
    let id = world.daemon.submit(serde_json::json!({"owner": "acme", "repo": "hello", "branch": "develop"})).await;
    let job = ended(&world, &id).await;
    let memory = watch.stop();
    let mut rows = vec![
        Row {
            what: "first clone, 500 MB, 2,000 commits, by ssh".into(),
            measured: format!(
                "{} (checkout {}, build {})",
                ms(stage(&job, "clone")),
                ms(stage(&job, "checkout")),
                ms(stage(&job, "build"))
            ),
            target: "< 60 s".into(),
            met: stage(&job, "clone") < Duration::from_secs(60),
        },
        memory.row("the same job"),
    ];
    let (mut clones, mut checkouts) = (Vec::new(), Vec::new());
    let watch = Watch::start(world.daemon.pid());
    world.repo.git(&["fetch", "-q", "--depth=1", "origin", "develop"]);
    world.repo.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    for round in 0..3 {
        let sha = world.repo.commit("develop", &[("round.txt", &format!("{round}"))]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        let job = ended(&world, &id).await;
        clones.push(stage(&job, "clone"));
        checkouts.push(stage(&job, "checkout"));
    }
    let clone = median(clones);
    rows.push(Row {
        what: "a fetch of one more commit".into(),
        measured: format!("{} (checkout {})", ms(clone), ms(median(checkouts))),
        target: "< 1 s".into(),
        met: clone < Duration::from_secs(1),
    });
    rows.push(watch.stop().row("the same jobs"));
    rows
}

pub(super) async fn ended(world: &World, id: &str) -> serde_json::Value {
    let job = poll("the job has ended", async || {
        let job = world.daemon.job(id).await;
        matches!(job["status"].as_str(), Some("success" | "failure")).then_some(job)
    })
    .await;
    assert_eq!(job["status"], "success", "{job:#}\n{}", world.daemon.log(id).await);
    job
}

/// 100,000 files of which one changes: the parts of it, and the whole.
pub async fn context() -> Vec<Row> {
    let dir = folder();
    let repo = Repo::create(&dir.path().join("hello.git"));
    fill(&repo.bare);
    let git = Git::new(GitConfig {
        dir: dir.path().join("data"),
        run_dir: dir.path().join("run"),
        known_hosts: "/nonexistent".into(),
        added_hosts: None,
        access: Default::default(),
        pure_history_times: false,
        repo_case: image_factory::model::RepoCase::default(),
        bounds: image_factory::git::GitBounds::default(),
    })
    .unwrap();
    let source = RepoSource {
        repo: RepoName::new("acme", "hello").unwrap(),
        url: format!("file://{}", repo.bare.display()),
        key: None,
    };
    let (branch, log) = (GitRef::new("develop").unwrap(), Log::default());
    let (mut fetches, mut trees, mut firsts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..6 {
        let mut import = Import::start(&repo.bare);
        import.next();
        import.file("round.txt", format!("{round}").as_bytes());
        import.finish();
        let start = Instant::now();
        let mirror = git.clone(&source, &branch, &CommitSpec::Head, false, &log).await.unwrap();
        let oid = git.resolve(&mirror, &branch, &CommitSpec::Head, false).await.unwrap();
        let fetched = start.elapsed();
        let start = Instant::now();
        git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await.unwrap();
        if round > 0 {
            fetches.push(fetched);
            trees.push(start.elapsed());
        } else {
            firsts.push(start.elapsed());
        }
    }
    let snapshot = median(trees);
    let mut rows = vec![Row {
        what: "100,000 files, one changed: the tree and its times".into(),
        measured: format!(
            "{} (with times from history, at first sight: {}; fetch and resolve, from a file: {})",
            ms(snapshot),
            ms(median(firsts)),
            ms(median(fetches))
        ),
        target: "< 1 s".into(),
        met: snapshot < Duration::from_secs(1),
    }];

    let world = World::start().await;
    fill(&world.repo.bare);
    let (mut wholes, mut stages) = (Vec::new(), Vec::new());
    for round in 0..4 {
        let mut import = Import::start(&world.repo.bare);
        import.next();
        import.file("round.txt", format!("{round}").as_bytes());
        import.finish();
        let sha = world.repo.git(&["ls-remote", "origin", "refs/heads/develop"])[..40].to_owned();
        let start = Instant::now();
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        poll("the manifest", async || world.digest(&sha).await).await;
        let whole = start.elapsed();
        let job = ended(&world, &id).await;
        if round > 0 {
            wholes.push(whole);
            stages.push(["clone", "checkout", "build", "push"].map(|name| stage(&job, name)));
        }
    }
    let part = |at: usize| ms(median(stages.iter().map(|stages| stages[at]).collect()));
    let whole = median(wholes);
    rows.push(Row {
        what: "100,000 files, one changed: push → manifest".into(),
        measured: format!(
            "{} (clone {}, checkout {}, build {}, push {})",
            ms(whole),
            part(0),
            part(1),
            part(2),
            part(3)
        ),
        target: "< 10 s".into(),
        met: whole < Duration::from_secs(10),
    });
    rows
}

pub(super) fn fill(bare: &Path) {
    let mut import = Import::start(bare);
    import.commit();
    import.file("Dockerfile", b"FROM image-factory-busybox:1\nCOPY src /app/src\nCOPY round.txt /app/\n");
    for number in 0..100_000u64 {
        import.file(&format!("src/{:02}/{:02}/{number}", number % 50, number % 700 / 50), &noise(number, 300));
    }
    import.finish();
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    fastrand::Rng::with_seed(seed).fill(&mut bytes);
    bytes
}

/// Commits on develop, by `git fast-import`.
pub(super) struct Import {
    git: Child,
    time: u64,
}

impl Import {
    pub(super) fn start(bare: &Path) -> Self {
        let mut git = Command::new("git");
        git.current_dir(bare).args(["-c", "core.compression=0", "fast-import", "--quiet"]).stdin(Stdio::piped());
        Self { git: git.spawn().unwrap(), time: 1_600_000_000 }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.git.stdin.as_mut().unwrap().write_all(bytes).unwrap();
    }

    /// The first one, or after one of this import.
    fn commit(&mut self) {
        self.time += 60;
        let time = self.time;
        self.write(format!("commit refs/heads/develop\ncommitter T <t@t> {time} +0000\ndata 1\nx\n").as_bytes());
    }

    /// After what the branch has.
    pub(super) fn next(&mut self) {
        self.commit();
        self.write(b"from refs/heads/develop^0\n");
    }

    pub(super) fn file(&mut self, path: &str, content: &[u8]) {
        self.write(format!("M 644 inline {path}\ndata {}\n", content.len()).as_bytes());
        self.write(content);
        self.write(b"\n");
    }

    pub(super) fn finish(mut self) {
        drop(self.git.stdin.take());
        assert!(self.git.wait().unwrap().success());
    }
}

/// Watches the memory of the daemon and of the Gits that it starts.
struct Watch {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
    peaks: Arc<Mutex<BTreeMap<String, Peak>>>,
}

/// MB. What is mapped of a file the kernel can take back at any time.
#[derive(Default, Clone, Copy)]
struct Peak {
    own: u64,
    mapped: u64,
}

struct Memory(BTreeMap<String, Peak>);

impl Watch {
    fn start(daemon: i32) -> Self {
        let (stop, peaks) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let (stopped, found) = (stop.clone(), peaks.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                look(daemon, &found);
                std::thread::park_timeout(Duration::from_millis(3));
            }
        });
        Self { stop, thread, peaks }
    }

    fn stop(self) -> Memory {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        Memory(self.peaks.lock().unwrap().clone())
    }
}

fn look(daemon: i32, found: &Mutex<BTreeMap<String, Peak>>) {
    let mut family = vec![daemon.to_string()];
    let mut at = 0;
    while let Some(pid) = family.get(at).cloned() {
        at += 1;
        let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            family.extend(children.split_whitespace().map(str::to_owned));
        }
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line);
        let mut words = line.split('\0').map(|word| word.rsplit('/').next().unwrap_or_default());
        let name = match (words.next(), words.find(|word| !word.is_empty() && !word.contains('=') && *word != "-c")) {
            (Some("git"), Some(command)) => format!("git {command}"),
            (Some(name), _) => name.to_owned(),
            (None, _) => continue,
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let megabytes = |field: &str| -> u64 {
            let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) / 1000
        };
        let mut found = found.lock().unwrap();
        let peak = found.entry(name).or_default();
        peak.own = peak.own.max(megabytes("RssAnon:"));
        peak.mapped = peak.mapped.max(megabytes("RssFile:"));
    }
}

impl Memory {
    fn row(&self, of: &str) -> Row {
        let ours = self.0.get("image-factory").copied().unwrap_or_default();
        let mut others: Vec<_> = self.0.iter().filter(|(name, _)| *name != "image-factory").collect();
        others.sort_by_key(|(_, peak)| std::cmp::Reverse(peak.own + peak.mapped));
        let others: Vec<_> =
            others.iter().take(4).map(|(name, peak)| format!("{name} {} + {}", peak.own, peak.mapped)).collect();
        Row {
            what: format!("peak memory of {of}, own + mapped from files"),
            measured: format!("{} + {} MB; {}", ours.own, ours.mapped, others.join(", ")),
            target: "< 60 MB".into(),
            met: ours.own + ours.mapped < 60,
        }
    }
}
