//! One process of a watcher.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Command as Program, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, kill_process_group, setsid};

use super::account::Account;
use super::descendants::children;
use super::output::Stream;
use crate::circus::Command;

/// A running process, which leads a session of its own.
pub struct Process {
    pid: Pid,
    /// Number among the processes of its watcher, from 1.
    pub number: usize,
    pub started: Instant,
    /// Standard output and standard error.
    pub streams: [Stream; 2],
}

impl Process {
    /// Starts a command. `number` is its number among the processes of its watcher.
    ///
    /// # Errors
    /// The exit code that a shell would give (126 or 127), and the reason.
    pub fn start(command: &Command, account: &Account, number: usize) -> Result<Self, (u8, String)> {
        let words = command.words(number).map_err(|problem| (126, problem.to_string()))?;
        Self::spawn(command, account.clone(), &words, number).map_err(|error| reason(command, &words[0], &error))
    }

    fn spawn(command: &Command, account: Account, words: &[String], number: usize) -> io::Result<Self> {
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
        Ok(Self { pid, number, started: Instant::now(), streams: [Stream::new(stdout)?, Stream::new(stderr)?] })
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the process, and on demand to its children, but not to theirs (`stop_children` of circus).
    pub fn signal(&self, number: i32, with_children: bool) {
        let Some(signal) = signal(number) else { return };
        // Children of a process that has ended belong to somebody else.
        let children = if with_children { children(self.pid) } else { Vec::new() };
        for pid in std::iter::once(self.pid).chain(children) {
            // A process that has just ended needs no signal.
            let _ = kill_process(pid, signal);
        }
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

/// Returns the exit code and the reason why a command does not start: execve(2) names neither the file nor the folder.
fn reason(command: &Command, word: &str, error: &io::Error) -> (u8, String) {
    let folder = &command.working_dir;
    if !folder.is_dir() {
        let text = format!("the folder {} is missing. Create it, or correct `working_dir`.", folder.display());
        return (126, text);
    }
    let program = command.executable.as_deref().unwrap_or(word.as_ref());
    let name = program.display();
    match error.kind() {
        // Such a variable stays as it is, as circusd leaves it.
        io::ErrorKind::NotFound if name.to_string().contains("(circus.") => {
            (127, format!("{name} has a variable that is not set. Set it in `[env]`, or write `copy_env = True`."))
        }
        // Programs without a slash in their names are looked up in PATH (execvp(3)).
        io::ErrorKind::NotFound if !program.as_os_str().as_encoded_bytes().contains(&b'/') => {
            let path = command.env.get("PATH");
            let text = match path {
                Some(path) => {
                    format!("{name} is not in {path}. Install it in the Dockerfile, or write its whole path.")
                }
                None => format!("{name} is not in /bin:/usr/bin. Write its whole path, or `copy_env = True`."),
            };
            (127, text)
        }
        io::ErrorKind::NotFound if folder.join(program).exists() => {
            (127, format!("{name} names a program in its first line that is missing. Correct the line."))
        }
        io::ErrorKind::NotFound => (127, format!("{name} is missing. Correct the path, or put the program there.")),
        io::ErrorKind::PermissionDenied if error.raw_os_error() == Some(libc::EPERM) => {
            (126, format!("{name} cannot get its `uid` or `gid`, because the launcher is not root. Run it as root."))
        }
        io::ErrorKind::PermissionDenied => {
            (126, format!("{name} may not be run by its user. Make it executable in the Dockerfile (chmod a+x)."))
        }
        _ => (126, format!("{name}: {error}")),
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
