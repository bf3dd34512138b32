use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::*;

#[derive(Default)]
struct Buffer(Mutex<Vec<u8>>);
impl LogSink for Buffer {
    fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap().extend_from_slice(bytes);
    }
}

fn sh(script: &str) -> Program {
    Program::new("sh").args(["-c", script])
}

async fn until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited for too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns whether a process is neither running nor a zombie of ours.
fn gone(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Err(_) => true,
        // A zombie of another parent counts as gone, because a container's init may not reap.
        Ok(stat) => {
            let mut fields = stat.rsplit(')').next().unwrap().split_whitespace();
            fields.next() == Some("Z") && fields.next() != Some(&std::process::id().to_string())
        }
    }
}

#[tokio::test]
async fn the_environment_is_cleared() {
    let done = Program::new("env").env("EXTRA", "1").output().await.unwrap();
    let mut names: Vec<_> = done.stdout.split(|&b| b == b'\n').filter_map(|l| l.split(|&b| b == b'=').next()).collect();
    names.sort();
    assert_eq!(names, [&b""[..], b"EXTRA", b"HOME", b"LANG", b"PATH"]);
    assert!(done.status.success());
}

#[tokio::test]
async fn output_goes_to_the_log_and_the_end_of_stderr_is_kept() {
    let log = Buffer::default();
    let script =
        "echo out; i=0; while [ $i -lt 30000 ]; do echo 0123456789 >&2; i=$((i+1)); done; echo last >&2; exit 3";
    let done = sh(script).run(&log).await.unwrap();
    assert_eq!(done.status.code(), Some(3));
    assert!(done.stdout.is_empty());
    assert!(done.stderr.ends_with("0123456789\nlast\n"));
    assert!((STDERR_TAIL..3 * STDERR_TAIL).contains(&done.stderr.len()));
    assert_eq!(log.0.lock().unwrap().len(), 4 + 30000 * 11 + 5);
}

#[tokio::test]
async fn a_missing_program_is_named() {
    let error = Program::new("no-such-program").output().await.unwrap_err();
    assert!(error.to_string().starts_with("no-such-program is not installed"), "{error}");
}

#[tokio::test]
async fn a_group_is_killed_on_drop_and_reaped() {
    let mut running = sh("sleep 1000 & echo $!; wait").start().unwrap();
    let mut line = [0; 16];
    let n = running.stdout().unwrap().read(&mut line).await.unwrap();
    let grandchild: i32 = std::str::from_utf8(&line[..n]).unwrap().trim().parse().unwrap();
    let child = running.id().unwrap();
    assert!(!gone(child) && !gone(grandchild));
    drop(running);
    until(|| gone(child) && gone(grandchild)).await;
}

#[tokio::test]
async fn children_that_a_program_leaves_do_not_delay_its_end() {
    let start = Instant::now();
    let done = sh("sleep 1000 & echo $!").output().await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(100));
    let grandchild = String::from_utf8(done.stdout).unwrap().trim().parse().unwrap();
    until(|| gone(grandchild)).await;
}

#[tokio::test]
async fn only_the_leftovers_of_the_owner_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    let owned = |name: &str| Program::new("sleep").arg("1000").owner(&dir.path().join(name)).start().unwrap();
    let (mut ours, theirs) = (owned("a"), owned("ab"));
    // The environment is that of the test until exec is done.
    let marked = |r: &Running| fs::read(format!("/proc/{}/environ", r.id().unwrap())).is_ok_and(|e| e.len() > 50);
    until(|| marked(&ours) && marked(&theirs)).await;
    kill_leftovers(&dir.path().join("a")).unwrap();
    assert!(!ours.wait().await.unwrap().success());
    assert!(!gone(theirs.id().unwrap()));
}

/// The process that [`a_program_dies_with_a_killed_parent`] kills. It is no test itself.
#[tokio::test]
#[ignore = "run by another test"]
async fn parent_to_be_killed() {
    let running = Program::new("sleep").arg("1000").start().unwrap();
    eprintln!("pid={}", running.id().unwrap());
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn a_program_dies_with_a_killed_parent() {
    let this = std::env::current_exe().unwrap();
    let args = ["--exact", "process::tests::parent_to_be_killed", "--ignored", "--nocapture"];
    let mut parent = Program::new(this.to_str().unwrap()).args(args).start().unwrap();
    let (mut stderr, mut text) = (parent.stderr().unwrap(), String::new());
    let pid = loop {
        let mut buf = [0; 256];
        let n = stderr.read(&mut buf).await.unwrap();
        assert!(n > 0, "{text}");
        text.push_str(std::str::from_utf8(&buf[..n]).unwrap());
        if let Some((pid, _)) = text.split_once("pid=").and_then(|(_, rest)| rest.split_once('\n')) {
            break pid.parse().unwrap();
        }
    };
    assert!(!gone(pid));
    // The parent is killed without its group. The program is in a group of its own anyway.
    rustix::process::kill_process(Pid::from_raw(parent.id().unwrap()).unwrap(), Signal::KILL).unwrap();
    until(|| gone(pid)).await;
}

#[tokio::test]
async fn output_beyond_64_mib_ends_the_program() {
    let bytes = |count: usize| sh(&format!("head -c {count} /dev/zero"));
    assert_eq!(bytes(LARGEST_OUTPUT).output().await.unwrap().stdout.len(), LARGEST_OUTPUT);
    let error = bytes(LARGEST_OUTPUT + 1).output().await.unwrap_err();
    assert_eq!(error.to_string(), "sh printed more than 64 MiB, which is not kept");
    // A program that would print for ever is killed.
    assert!(matches!(sh("yes").output().await, Err(ProcessError::TooMuch { .. })));
}

#[tokio::test]
async fn a_program_has_its_limits_and_goes_first_when_memory_is_short() {
    let limits = ProcessLimits { memory: 512 << 20, cpu_time: Duration::from_secs(7), group: None };
    let script = "ulimit -d; ulimit -t; until [ $(cat /proc/self/oom_score_adj) = 500 ]; do :; done; echo 500";
    let done = sh(script).limits(limits).output().await.unwrap();
    assert_eq!(String::from_utf8(done.stdout).unwrap(), "524288\n7\n500\n");
}

#[tokio::test]
async fn a_program_beyond_its_time_of_the_processor_ends_by_a_signal() {
    use std::os::unix::process::ExitStatusExt;
    let limits = ProcessLimits { memory: 512 << 20, cpu_time: Duration::from_secs(1), group: None };
    let done = sh("while :; do :; done").limits(limits).output().await.unwrap();
    assert_eq!(done.status.signal(), Some(Signal::XCPU.as_raw()));
}
