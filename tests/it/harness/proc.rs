use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal};

use super::eventually;
use super::ports::ports;

/// A program in a process group of its own, its output in a file. On drop the group is killed, and
/// the end of the output is shown if the test panics. It dies with this process, however that ends.
pub struct Proc {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Proc {
    /// Output is appended to `log`.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Self {
        let out = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out).process_group(0);
        // SAFETY: one system call between fork and exec, which allocates nothing.
        #[expect(unsafe_code, reason = "a test's servers end with it")]
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?))
        };
        let child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}; run `make setup`"));
        Self { name: name.into(), child, log: log.into() }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends the signal to the program, and not to the programs that it started.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// SIGKILL to the program alone; returns when it is gone.
    pub fn kill9(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().unwrap();
    }

    pub async fn exit(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} ends", self.name);
        eventually(limit, &what, async || self.child.try_wait().unwrap()).await
    }

    /// Everything it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // The group may outlive its leader, and is no longer there if all have ended.
        let _ = kill_process_group(self.pid(), Signal::KILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            let output = self.output();
            let lines: Vec<_> = output.lines().collect();
            let tail = lines[lines.len().saturating_sub(30)..].join("\n");
            eprintln!("--- the end of {}'s output\n{tail}\n---", self.name);
        }
    }
}

/// Starts a server on free loopback ports: `command` gets them, `ready` says when it answers (30 s
/// at most). A program that is no test's can take a port between our finding it and the server's binding it; a server
/// that ends before it is ready is started again on others.
pub async fn start<const N: usize>(
    name: &str,
    log: &Path,
    command: impl Fn([u16; N]) -> Command,
    ready: impl AsyncFn([u16; N]) -> bool,
) -> (Proc, [u16; N]) {
    for _ in 0..5 {
        let ports = ports();
        let mut proc = Proc::spawn(name, &mut command(ports), log);
        if wait_ready(&mut proc, async || ready(ports).await).await {
            return (proc, ports);
        }
        if !proc.output().contains("address already in use") && !proc.output().contains("Address already in use") {
            panic!("{name} ended before it was ready");
        }
    }
    panic!("{name} found no free port in five attempts");
}

/// False if the program ended instead.
pub async fn wait_ready(proc: &mut Proc, ready: impl AsyncFn() -> bool) -> bool {
    let what = format!("{} is ready", proc.name);
    eventually(Duration::from_secs(30), &what, async || {
        if ready().await { Some(true) } else { (!proc.running()).then_some(false) }
    })
    .await
}

/// `PID COMMAND LINE` of every process that has `needle` in its command line or in the path of its
/// working folder: how a test finds what a killed daemon left behind.
pub fn processes_of(needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let cwd = std::fs::read_link(entry.path().join("cwd")).unwrap_or_default();
        if pid != std::process::id() && (line.contains(needle) || cwd.to_string_lossy().contains(needle)) {
            found.push(format!("{pid} {line}"));
        }
    }
    found
}
