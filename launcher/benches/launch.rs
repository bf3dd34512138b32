//! The time from the start of a launch to the application's first line, beside what Salt takes for the same states, and
//! what the launcher costs: `make bench`, or `cargo bench -p launcher`. The project is `examples/registry`.
#![allow(clippy::disallowed_methods, reason = "starts programs by hand")]

#[path = "../tests/salt/example.rs"]
mod example;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Number of launches, and of calls of Salt, which takes a hundred times as long.
const LAUNCHES: usize = 21;
const CALLS: usize = 5;
const MIB: f64 = (1 << 20) as f64;

/// An application that says when it starts.
const CIRCUS: &str = "[watcher:app]\ncmd = sh -c 'echo up; exec sleep 1000'\n";

fn main() {
    let launcher = Path::new(env!("CARGO_BIN_EXE_launcher"));
    let (mut first, mut again, mut memory) = (Vec::new(), Vec::new(), 0.0_f64);
    for _ in 0..LAUNCHES {
        let project = project();
        for times in [&mut first, &mut again] {
            let begun = Instant::now();
            let mut child = launch(launcher, project.path());
            times.push(begun.elapsed());
            memory = memory.max(resident(&child));
            stop(&mut child);
        }
    }
    let (first, again, salt) = (median(first), median(again), median((0..CALLS).map(|_| salt()).collect()));
    let size = fs::metadata(launcher).unwrap().len() as f64 / MIB;
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    println!("\n| what | measured | target | met |\n|---|---|---|---|");
    let row = |what: &str, measured: String, target: &str, met: bool| {
        println!("| {what} | {measured} | {target} | {} |", if met { "yes" } else { "NO" });
    };
    row(
        "first launch of the example to its application",
        format!("{:.1} ms", ms(first)),
        "< 100 ms",
        ms(first) < 100.0,
    );
    row("the next launch, which changes nothing", format!("{:.1} ms", ms(again)), "< 100 ms", ms(again) < 100.0);
    let factor = first.as_secs_f64() / salt.as_secs_f64();
    let measured = format!("{factor:.4} × ({:.0} ms)", ms(salt));
    row("the first launch, beside the states by salt-call", measured, "≤ 0.1 ×", factor <= 0.1);
    row("memory while the application runs", format!("{memory:.1} MiB"), "< 6 MB", memory * MIB < 6e6);
    row("the binary", format!("{size:.2} MiB"), "< 4 MB", size * MIB < 4e6);
}

/// A root with the example, and one process.
fn project() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let base = folder.path().join("out").display().to_string();
    let write = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text.replace("@BASE@", &base)).unwrap();
    };
    for (path, text) in example::files() {
        write(folder.path().join("srv/projects/registry").join(path), &text);
    }
    write(folder.path().join("etc/circus.ini"), CIRCUS);
    for name in ["passwd", "group"] {
        fs::copy(Path::new("/etc").join(name), folder.path().join("etc").join(name)).unwrap();
    }
    folder
}

/// Launches the project, and waits for its application's first line.
fn launch(launcher: &Path, root: &Path) -> Child {
    let mut command = Command::new(launcher);
    command.args(["launch", "re_configure=True"]).arg(format!("--root={}", root.display()));
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "app | up");
    child
}

/// Returns the memory of a process in MiB (VmRSS of proc(5)).
fn resident(child: &Child) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
}

fn stop(child: &mut Child) {
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    child.wait().unwrap();
}

/// Returns the time that `salt-call` takes for the states of a new project, its start included.
fn salt() -> Duration {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = Command::new(top.join("../scripts/venv")).args(["salt", "salt==3008.4"]).output().unwrap();
    let salt_call = Path::new(String::from_utf8(venv.stdout).unwrap().trim()).join("bin/salt-call");
    let (own, project) = (tempfile::tempdir().unwrap(), project());
    let root = project.path().join("srv/projects/registry");
    let minion = format!("root_dir: {}\nid: bench\nfile_client: local\nlog_level: quiet\n", own.path().display());
    fs::write(own.path().join("minion"), minion).unwrap();
    fs::write(root.join("pillar/top.sls"), "base: {'*': [init]}\n").unwrap();
    let mut command = Command::new(salt_call);
    command.args(["--local", "--retcode-passthrough", "--out=quiet", "-c"]).arg(own.path());
    command.arg("--file-root").arg(root.join("project/.salt")).arg("--pillar-root").arg(root.join("pillar"));
    command.args(["state.sls", "100_directories,200_reconfigure,300_nginx,400_circus"]);
    let begun = Instant::now();
    let output = command.output().unwrap();
    let time = begun.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(project.path().join("out/etc/nginx/nginx.conf").is_file());
    time
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}
