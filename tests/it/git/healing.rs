use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use image_factory::git::Fault;

use super::*;
use crate::harness::eventually;

fn mirror(local: &Local) -> PathBuf {
    local.dir.path().join("data/mirrors/acme/hello.git")
}

/// Files below `dir`, also in its folders.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

async fn works(local: &Local, expected: &str) {
    // Damage that is found while files are read is healed by the next attempt, as a job has one.
    let mut last = None;
    for _ in 0..2 {
        let read = async { contents(&local.snapshot().await?).await };
        match read.await {
            Ok(contents) => {
                assert!(contents.contains(&("a".into(), expected.into())));
                return;
            }
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                last = Some(error);
            }
        }
    }
    panic!("{last:?}");
}

#[tokio::test]
async fn leftovers_of_a_killed_git_are_swept() {
    let mut local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    local.repo.commit("tmp_x", &[("a", "1")]);
    local.snapshot().await.unwrap();
    let left =
        ["refs/heads/develop.lock", "packed-refs.lock", "HEAD.lock", "objects/pack/tmp_pack_x", "objects/tmp_obj_x"];
    for name in left {
        fs::write(mirror(&local).join(name), "").unwrap();
    }
    for leftover in ["hello.new", "hello.old"] {
        fs::create_dir_all(mirror(&local).with_file_name(leftover).join("objects")).unwrap();
    }
    fs::create_dir(local.dir.path().join("run/agent-left")).unwrap();
    local.restart();
    local.repo.commit("develop", &[("a", "2")]);
    works(&local, "2").await;
    for name in left {
        assert!(!mirror(&local).join(name).exists(), "{name}");
    }
    assert!(mirror(&local).join("refs/heads/tmp_x").exists());
    assert_eq!(fs::read_dir(local.dir.path().join("run")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_damaged_mirror_is_fetched_anew() {
    type Damage = fn(&Path);
    let damages: &[(&str, Damage)] = &[
        ("objects gone", |m| fs::remove_dir_all(m.join("objects")).unwrap()),
        ("pack emptied", |m| files(m).iter().filter(|f| f.ends_with("pack")).for_each(|f| fs::write(f, "").unwrap())),
        ("objects emptied", |m| files(&m.join("objects")).iter().for_each(|f| empty(f))),
        ("half of each object", |m| files(&m.join("objects")).iter().for_each(|f| halve(f))),
        ("one object gone", |m| fs::remove_file(files(&m.join("objects")).iter().max().unwrap()).unwrap()),
        ("a byte flipped in each object", |m| files(&m.join("objects")).iter().for_each(|f| flip(f))),
        ("refs emptied", |m| files(&m.join("refs")).iter().for_each(|f| empty(f))),
        ("refs of nothing", |m| files(&m.join("refs")).iter().for_each(|f| fs::write(f, "1".repeat(40)).unwrap())),
        ("HEAD gone", |m| fs::remove_file(m.join("HEAD")).unwrap()),
        ("config broken", |m| fs::write(m.join("config"), "[").unwrap()),
        ("all gone", |m| fs::remove_dir_all(m).unwrap()),
        ("emptied", |m| files(m).iter().for_each(|f| fs::remove_file(f).unwrap())),
        ("a file in its place", |m| {
            fs::remove_dir_all(m).unwrap();
            fs::write(m, "").unwrap();
        }),
    ];
    for (name, damage) in damages {
        // The mirror has one pack, or loose objects beside it.
        for (restarted, count) in [(false, 200), (true, 1)] {
            eprintln!("{name}, restarted: {restarted}");
            let mut local = Local::new();
            let names: Vec<_> = (0..count).map(|i| (format!("f{i}"), i.to_string())).collect();
            let mut tree: Vec<_> = names.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
            tree.push(("a", "1"));
            local.repo.commit("develop", &tree);
            local.snapshot().await.unwrap();
            if count == 1 {
                local.repo.commit("develop", &[("b", "1")]);
                local.snapshot().await.unwrap();
            }
            damage(&mirror(&local));
            if restarted {
                local.restart();
                local.repo.commit("develop", &[("a", "2")]);
            }
            works(&local, if restarted { "2" } else { "1" }).await;
        }
    }
}

/// The kernel ends a Git for want of memory, which says nothing about the mirror.
#[tokio::test]
async fn a_killed_git_is_no_damage() {
    let local = Local::new();
    local.repo.commit("develop", &[("a", "1")]);
    let snapshot = local.snapshot().await.unwrap();
    let place = || fs::metadata(mirror(&local)).unwrap().ino();
    let before = place();
    let mut blobs = snapshot.blobs().unwrap();
    let is_reader = |process: &Path| {
        let has = |file: &str, word: &str| {
            fs::read(process.join(file)).is_ok_and(|text| String::from_utf8_lossy(&text).contains(word))
        };
        has("cmdline", "cat-file") && has("environ", mirror(&local).to_str().unwrap())
    };
    let processes = fs::read_dir("/proc").unwrap().map(|process| process.unwrap().path());
    // One that the snapshot used may not be gone yet.
    let readers: Vec<_> = processes.filter(|process| is_reader(process)).collect();
    assert!(!readers.is_empty(), "no reader runs");
    for reader in readers {
        let id = reader.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let _ =
            rustix::process::kill_process(rustix::process::Pid::from_raw(id).unwrap(), rustix::process::Signal::KILL);
    }
    let error = blobs.read(snapshot.entry(b"a").unwrap()).await.unwrap_err();
    assert!(error.fault == Fault::Host && error.message.contains("Git was killed (SIGKILL)"), "{error:?}");
    works(&local, "1").await;
    assert_eq!(place(), before, "the mirror was fetched anew");
}

#[tokio::test]
async fn an_overtaken_commit_survives_healing() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    let second = local.repo.commit("develop", &[("a", "2")]);
    local.repo.force("develop", &first);
    let fetched = local.fetch("develop", &second, true).await.unwrap();
    fs::remove_dir_all(mirror(&local).join("objects")).unwrap();
    let oid = local.git.resolve(&fetched, &branch("develop"), &commit(&second), true).await.unwrap();
    fs::remove_dir_all(mirror(&local).join("objects")).unwrap();
    local.git.snapshot(&fetched, &oid, "key", &Secrets::default(), &Log::default()).await.unwrap();
    fs::remove_dir_all(mirror(&local)).unwrap();
    let snapshot = local.git.snapshot(&fetched, &oid, "key", &Secrets::default(), &Log::default()).await.unwrap();
    assert_eq!(contents(&snapshot).await.unwrap(), [("a".to_string(), b"2".to_vec())]);
}

fn writable(file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, PermissionsExt::from_mode(0o644)).unwrap();
}

fn empty(file: &Path) {
    writable(file);
    fs::write(file, "").unwrap();
}

fn halve(file: &Path) {
    writable(file);
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(file: &Path) {
    writable(file);
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x55;
    fs::write(file, bytes).unwrap();
}

/// The process that the next test kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn job_to_be_killed() {
    let [dir, url] = ["GIT_TEST_DIR", "GIT_TEST_URL"].map(|name| std::env::var(name).unwrap());
    let git = Git::new(config(Path::new(&dir), Path::new("/nonexistent"))).unwrap();
    let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
    loop {
        let mirror = git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap();
        let oid = git.resolve(&mirror, &branch("develop"), &CommitSpec::Head, false).await.unwrap();
        contents(&git.snapshot(&mirror, &oid, "key", &Secrets::default(), &Log::default()).await.unwrap())
            .await
            .unwrap();
        fs::remove_dir_all(&mirror.path).unwrap();
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_is_survived() {
    let mut local = Local::new();
    let names: Vec<_> = (0..1500).map(|i| (format!("d{}/f{i}", i % 10), i.to_string())).collect();
    let files: Vec<_> = names.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
    local.repo.commit("develop", &files);
    // The job makes these again and again, and for a while each.
    let moments =
        ["mirrors/acme/hello.new", "mirrors/acme/hello.new/objects/pack", "mirrors/acme/hello.git", "filetimes"];
    for (round, moment) in moments.into_iter().cycle().take(8).enumerate() {
        let mut job = Command::new(std::env::current_exe().unwrap());
        job.args(["--exact", "git::healing::job_to_be_killed", "--ignored"])
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut job = job.env("GIT_TEST_DIR", local.dir.path()).env("GIT_TEST_URL", &local.source.url).spawn().unwrap();
        let path = local.dir.path().join("data").join(moment);
        let there = || fs::read_dir(&path).is_ok_and(|mut dir| dir.next().is_some());
        eventually(Duration::from_secs(30), moment, async || there().then_some(())).await;
        job.kill().unwrap();
        job.wait().unwrap();
        local.restart();
        let now = format!("{round}");
        local.repo.commit("develop", &[("a", &now)]);
        works(&local, &now).await;
    }
}
