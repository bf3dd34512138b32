//! Runs the processes of a `circus.ini` until they end or a signal stops them.
//!
//! One thread waits by poll(2) for signals, for output, and for the next start or deadline. Each process leads a session,
//! and the launcher is the reaper of what its processes leave behind, as process 1 is in any case. Nothing of them remains.

mod account;
mod clock;
mod descendants;
mod output;
mod process;
mod schedule;

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Problem;
use crate::circus::{Configuration, Destination, Watcher};
use crate::signals::{self, Signals};
use account::Account;
use output::{OwnOutput, Sink};
use process::Process;
use schedule::Schedule;

/// Time that a process has to live for its start to count as a success.
const STABLE: Duration = Duration::from_secs(10);
/// Time from the end of a process that was not stable to its next start.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the reader of the launcher's output at the end.
const FLUSH: Duration = Duration::from_secs(2);

/// The end of the processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending {
    /// The exit code: 0 after a signal, otherwise the application's.
    pub code: u8,
    /// True if a signal stopped them.
    pub by_signal: bool,
}

/// Runs the watchers until they end.
///
/// # Errors
/// A watcher's user is unknown, its file for output cannot be opened, its command has no words, or the system refuses
/// what every process may do.
pub fn run(configuration: Configuration, signals: &Signals) -> Result<Ending, Problem> {
    let system = |error: io::Error| Problem::new(format!("The system refuses to supervise processes: {error}"));
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).map_err(|error| system(error.into()))?;
    let schedule = Schedule::new(&configuration);
    let watchers = configuration.watchers.into_iter().map(Supervised::new).collect::<Result<Vec<_>, _>>()?;
    let mut supervisor = Supervisor { watchers, schedule, own: OwnOutput::default(), stopping: None };
    configuration.warnings.iter().for_each(|warning| supervisor.say(warning));
    let code = supervisor.serve(signals).map_err(system);
    descendants::end_all();
    supervisor.own.flush(Instant::now() + FLUSH);
    code
}

/// A watcher, and its processes.
struct Supervised {
    watcher: Watcher,
    account: Account,
    processes: Vec<Process>,
    /// Number of processes in a row that ended before they were stable.
    unstable: u32,
    /// Time of SIGKILL, once the processes were asked to stop.
    kill_at: Option<Instant>,
    sinks: [Sink; 2],
}

struct Supervisor {
    watchers: Vec<Supervised>,
    schedule: Schedule,
    own: OwnOutput,
    /// The end that a stop under way leads to.
    stopping: Option<Ending>,
}

impl Supervised {
    fn new(watcher: Watcher) -> Result<Self, Problem> {
        let open = |destination: &Destination| {
            let problem = |error| watcher.place.problem(format!("{error}. Create its folder, or correct the name."));
            Sink::open(destination).map_err(problem)
        };
        let sinks = [open(&watcher.stdout)?, open(&watcher.stderr)?];
        let account = Account::of(&watcher)?;
        watcher.command.words(1).map_err(|problem| watcher.place.problem(problem.to_string()))?;
        Ok(Self { watcher, account, processes: Vec::new(), unstable: 0, kill_at: None, sinks })
    }

    fn is_idle(&self) -> bool {
        self.processes.is_empty()
    }

    /// Returns the number of the next process, which is `$(circus.wid)`: the smallest one that none has at the moment.
    fn next_number(&self) -> usize {
        let is_free = |number: &usize| self.processes.iter().all(|process| process.number != *number);
        (1..=self.processes.len() + 1).find(is_free).unwrap_or(1)
    }

    /// Takes one piece of the output of a process. Returns true if there may be more.
    fn take(&mut self, at: usize, own: &mut OwnOutput) -> bool {
        let mut is_more = false;
        let process = &mut self.processes[at];
        let from = (self.watcher.name.as_str(), process.pid());
        for (is_error, (stream, sink)) in process.streams.iter_mut().zip(&mut self.sinks).enumerate() {
            is_more |= stream.read();
            sink.add(own, is_error == 1, from, &stream.lines());
        }
        is_more
    }

    /// Forgets a process that ended, after all of its output was taken.
    fn remove(&mut self, at: usize, own: &mut OwnOutput) -> Process {
        // A child that left the session may write for ever, so the amount has a bound: that of a pipe, and some.
        for _ in 0..64 {
            if !self.take(at, own) {
                break;
            }
        }
        let mut process = self.processes.remove(at);
        let from = (self.watcher.name.as_str(), process.pid());
        for (is_error, (stream, sink)) in process.streams.iter_mut().zip(&mut self.sinks).enumerate() {
            sink.add(own, is_error == 1, from, &stream.rest());
        }
        process
    }
}

impl Supervisor {
    /// Prints a line about the launcher's own work.
    fn say(&mut self, text: &str) {
        self.own.line(true, "launcher", text.as_bytes());
    }

    fn serve(&mut self, signals: &Signals) -> io::Result<Ending> {
        loop {
            self.reap(signals)?;
            if signals.stops() > 0 {
                match self.stopping {
                    None => self.stop(Ending { code: 0, by_signal: true }),
                    // A second signal means that the user does not want to wait.
                    Some(_) => self.watchers.iter().flat_map(|watcher| &watcher.processes).for_each(Process::kill),
                }
            }
            if self.stopping.is_none() {
                self.start_due();
            }
            if let Some(code) = self.go_on_stopping() {
                return Ok(code);
            }
            self.wait(signals)?;
        }
    }

    /// Starts what is due. The end is due if nothing runs and nothing will.
    fn start_due(&mut self) {
        while let Some(index) = self.schedule.due() {
            let supervised = &mut self.watchers[index];
            match Process::start(&supervised.watcher.command, &supervised.account, supervised.next_number()) {
                Ok(process) => supervised.processes.push(process),
                Err((code, error)) => {
                    let text = supervised
                        .watcher
                        .place
                        .problem(format!("{} does not start: {error}", supervised.watcher.name));
                    self.say(&text.to_string());
                    self.stop(ended_with(code));
                }
            }
        }
        if self.watchers.iter().all(Supervised::is_idle) && self.schedule.is_empty() {
            self.stop(ended_with(0));
        }
    }

    /// Waits for each process that ended, and decides what follows from it.
    fn reap(&mut self, signals: &Signals) -> io::Result<()> {
        signals.forget_children();
        while let Some((pid, code)) = process::ended()? {
            let found = self.watchers.iter().enumerate().find_map(|(index, supervised)| {
                Some((index, supervised.processes.iter().position(|process| process.pid() == pid)?))
            });
            // The other ones were left behind by a process and came to their reaper.
            if let Some((index, at)) = found {
                // Children that outlive their leader would hold its ports and files.
                self.watchers[index].processes[at].kill();
                let process = self.watchers[index].remove(at, &mut self.own);
                self.follow_up(index, code, process.started.elapsed());
            }
        }
        Ok(())
    }

    /// Starts a process that ended again, or makes the end due.
    fn follow_up(&mut self, index: usize, code: u8, lived: Duration) {
        if self.stopping.is_some() {
            return;
        }
        let supervised = &mut self.watchers[index];
        let how = match code {
            129.. => format!("{} was killed by {}", supervised.watcher.name, signals::name(i32::from(code) - 128)),
            _ => format!("{} ended with {code}", supervised.watcher.name),
        };
        supervised.unstable = if lived < STABLE { supervised.unstable + 1 } else { 0 };
        let unstable = supervised.unstable;
        if !supervised.watcher.respawn {
            if supervised.watcher.announces {
                self.say(&how);
            }
            if code != 0 {
                self.stop(ended_with(code));
            }
        } else if supervised.watcher.max_retry.is_some_and(|most| unstable > most) {
            self.say(&format!("{how}, {unstable} times in a row: it is given up"));
            // An application that is given up has failed, even if it says 0.
            self.stop(ended_with(code.max(1)));
        } else {
            self.schedule.add(index, if unstable > 0 { PAUSE } else { Duration::ZERO });
            self.say(&format!("{how} and starts again"));
        }
    }

    /// Makes the end due. The first one counts.
    fn stop(&mut self, ending: Ending) {
        self.schedule.clear();
        self.stopping.get_or_insert(ending);
    }

    /// Goes on with a stop: watchers with the lowest priority stop together, and those with the next one once these have
    /// ended. Returns the end once nothing runs any more.
    fn go_on_stopping(&mut self) -> Option<Ending> {
        let ending = self.stopping?;
        let running = self.watchers.iter().filter(|supervised| !supervised.is_idle());
        // The lowest priority started last, so it stops first.
        let Some(next) = running.map(|supervised| supervised.watcher.priority).min() else {
            return Some(ending);
        };
        let (now, mut late) = (Instant::now(), Vec::new());
        let stops = |supervised: &&mut Supervised| !supervised.is_idle() && supervised.watcher.priority == next;
        for Supervised { watcher, processes, kill_at, .. } in self.watchers.iter_mut().filter(stops) {
            match kill_at {
                None => {
                    processes.iter().for_each(|process| process.signal(watcher.stop_signal, watcher.stop_children));
                    *kill_at = Some(now + watcher.graceful_timeout);
                }
                Some(at) if *at <= now => {
                    processes.iter().for_each(Process::kill);
                    *kill_at = Some(now + Duration::from_secs(1));
                    late.push(watcher.name.clone());
                }
                Some(_) => {}
            }
        }
        if !late.is_empty() {
            let is = if late.len() == 1 { "is" } else { "are" };
            self.say(&format!("{} did not stop in time and {is} killed", late.join(", ")));
        }
        None
    }

    /// Waits until something is to be done, and moves the output that is there.
    fn wait(&mut self, signals: &Signals) -> io::Result<()> {
        let kills = self.watchers.iter().filter(|supervised| !supervised.is_idle()).filter_map(|it| it.kill_at);
        let next = kills.min().or_else(|| self.schedule.next());
        let timeout = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() }
        });
        let mut waits: Vec<_> = signals.descriptors().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).into();
        waits.extend(self.own.pending().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        // Processes wait while the reader of the launcher's output is behind, so that no memory fills up.
        let is_behind = self.own.pending().next().is_some();
        if !is_behind {
            let streams =
                self.watchers.iter().flat_map(|supervised| &supervised.processes).flat_map(Process::descriptors);
            waits.extend(streams.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        }
        match poll(&mut waits, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        drop(waits);
        if !is_behind {
            for supervised in &mut self.watchers {
                for at in 0..supervised.processes.len() {
                    supervised.take(at, &mut self.own);
                }
            }
        }
        self.own.write();
        Ok(())
    }
}

/// Returns the end of an application that ended by itself.
fn ended_with(code: u8) -> Ending {
    Ending { code, by_signal: false }
}
