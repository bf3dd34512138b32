//! One process of a watcher.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command as Program, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, setsid};

use super::account::Account;
use super::output::Stream;
use crate::circus::Command;

/// A running process, which leads a session of its own.
pub struct Process {
    pid: Pid,
    pub started: Instant,
    /// Standard output and standard error.
    pub streams: [Stream; 2],
}

impl Process {
    /// Starts a command. `wid` is its number among the processes of its watcher.
    ///
    /// # Errors
    /// The exit code that a shell would give (126 or 127), and the reason.
    pub fn start(command: &Command, account: &Account, wid: usize) -> Result<Self, (u8, String)> {
        let words = command.words(wid).map_err(|problem| (126, problem.to_string()))?;
        let code = |error: io::Error| {
            let code = if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            (code, format!("{}: {error}", words[0]))
        };
        Self::spawn(command, account.clone(), &words).map_err(code)
    }

    fn spawn(command: &Command, account: Account, words: &[String]) -> io::Result<Self> {
        let executable = command.executable.as_deref().unwrap_or(words[0].as_ref());
        #[expect(
            clippy::disallowed_methods,
            reason = "the environment is cleared here, and the supervisor ends the process"
        )]
        let mut program = Program::new(executable);
        program.arg0(&words[0]).args(&words[1..]).env_clear().envs(&command.env).current_dir(&command.working_dir);
        program.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        #[expect(unsafe_code, reason = "std has neither sessions nor supplementary groups")]
        // SAFETY: between fork and exec there are system calls alone, and no memory is allocated.
        unsafe {
            program.pre_exec(move || {
                setsid()?;
                account.become_it()
            });
        }
        let mut child = program.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default()).ok_or(io::ErrorKind::Other)?;
        let stdout = child.stdout.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
        let stderr = child.stderr.take().map(OwnedFd::from).ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pid, started: Instant::now(), streams: [Stream::new(stdout)?, Stream::new(stderr)?] })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the process, or to its whole group.
    pub fn signal(&self, number: i32, with_children: bool) {
        let Some(signal) = signal(number) else { return };
        // A process that has just ended needs no signal.
        let _ = if with_children { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
    }

    /// Kills the process and its group.
    pub fn kill(&self) {
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Returns the descriptors of output that is still open.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.streams.iter().filter_map(Stream::descriptor)
    }
}

fn signal(number: i32) -> Option<Signal> {
    #[expect(unsafe_code, reason = "rustix names no signals from SIGRTMIN to SIGRTMAX")]
    // SAFETY: Linux has these numbers, and libc keeps 32 and 33 for itself alone.
    let real_time = || (34..=64).contains(&number).then(|| unsafe { Signal::from_raw_unchecked(number) });
    Signal::from_named_raw(number).or_else(real_time)
}

/// Takes a child that has ended, and its exit code: its own, or 128 and the number of the signal that killed it.
pub fn ended() -> io::Result<Option<(Pid, u8)>> {
    match rustix::process::wait(WaitOptions::NOHANG) {
        Ok(Some((pid, status))) => {
            let code = status.exit_status().or(status.terminating_signal().map(|number| 128 + number)).unwrap_or(0);
            Ok(Some((pid, u8::try_from(code).unwrap_or(u8::MAX))))
        }
        Ok(None) | Err(rustix::io::Errno::CHILD) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
