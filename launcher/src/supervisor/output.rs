//! The output of processes: read as lines, written to the launcher's own output or to a file.

use std::borrow::Cow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_setfl};
use rustix::process::Pid;
use rustix::stdio::{stderr, stdout};

use super::clock;
use crate::circus::{Destination, Target};

/// Longest line. A longer one is cut into several, because it is held in memory until it is complete.
const LONGEST: usize = 64 * 1024;
/// Number of bytes that are read at once.
const PIECE: usize = 16 * 1024;
/// Number of bytes that a pipe takes without blocking once poll(2) calls it writable (PIPE_BUF, pipe(7)).
const ATOMIC: usize = 4096;

/// The reading end of a process's standard output or standard error.
pub struct Stream {
    /// None once the writing end is closed.
    pipe: Option<OwnedFd>,
    /// The bytes that were not yet taken as lines.
    bytes: Vec<u8>,
}

impl Stream {
    pub fn new(pipe: OwnedFd) -> io::Result<Self> {
        fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
        Ok(Self { pipe: Some(pipe), bytes: Vec::new() })
    }

    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Reads one piece. Returns true if there was something to read.
    pub fn read(&mut self) -> bool {
        let Some(pipe) = &self.pipe else { return false };
        let mut piece = [0; PIECE];
        match rustix::io::read(pipe, &mut piece) {
            Ok(count @ 1..) => {
                self.bytes.extend_from_slice(&piece[..count]);
                true
            }
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => false,
            Ok(_) | Err(_) => {
                self.pipe = None;
                false
            }
        }
    }

    /// Takes the lines that are complete, and those that are too long to wait for.
    pub fn lines(&mut self) -> Vec<u8> {
        let end = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = if self.bytes.len() - end > LONGEST { self.bytes.len() } else { end };
        let rest = self.bytes.split_off(end);
        std::mem::replace(&mut self.bytes, rest)
    }

    /// Takes all that is left.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }
}

/// The launcher's own standard output and standard error, each with what is still to be written.
#[derive(Default)]
pub struct OwnOutput([Vec<u8>; 2]);

impl OwnOutput {
    /// Adds a line behind a name.
    pub fn line(&mut self, is_error: bool, name: &str, line: &[u8]) {
        let buffer = &mut self.0[usize::from(is_error)];
        buffer.extend_from_slice(name.as_bytes());
        buffer.extend_from_slice(b" | ");
        buffer.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        buffer.push(b'\n');
    }

    /// Returns the descriptors for which something is left.
    pub fn pending(&self) -> impl Iterator<Item = BorrowedFd<'static>> + use<> {
        let both = [(self.0[0].is_empty(), stdout()), (self.0[1].is_empty(), stderr())];
        both.into_iter().filter(|(is_empty, _)| !is_empty).map(|(_, fd)| fd)
    }

    /// Writes as much as the readers take at once.
    pub fn write(&mut self) {
        for (buffer, fd) in self.0.iter_mut().zip([stdout(), stderr()]) {
            let mut written = 0;
            while written < buffer.len() && is_writable(fd, Duration::ZERO) {
                match rustix::io::write(fd, &buffer[written..buffer.len().min(written + ATOMIC)]) {
                    Ok(count) => written += count,
                    Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => break,
                    // Nobody reads any more.
                    Err(_) => written = buffer.len(),
                }
            }
            buffer.drain(..written);
        }
    }

    /// Writes all that is left, unless the readers take longer than until `deadline`.
    pub fn flush(&mut self, deadline: Instant) {
        self.write();
        loop {
            let next = self.pending().next();
            match next {
                Some(fd) if is_writable(fd, deadline.saturating_duration_since(Instant::now())) => self.write(),
                _ => return,
            }
        }
    }
}

fn is_writable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::OUT)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

/// The place of the lines of one stream.
pub struct Sink {
    place: Place,
    time_format: Option<String>,
}

enum Place {
    Launcher,
    File { file: File, path: PathBuf, size: u64, max_bytes: u64, backup_count: u32 },
}

impl Sink {
    /// # Errors
    /// The file cannot be opened. Its folder has to exist.
    pub fn open(destination: &Destination) -> io::Result<Self> {
        let place = match &destination.target {
            Target::Launcher => Place::Launcher,
            Target::File { path, max_bytes, backup_count } => {
                let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
                let file = append(path).map_err(named)?;
                let size = file.metadata()?.len();
                let (max_bytes, backup_count) = (*max_bytes, *backup_count);
                Place::File { file, path: path.clone(), size, max_bytes, backup_count }
            }
        };
        Ok(Self { place, time_format: destination.time_format.clone() })
    }

    /// Adds lines of the watcher `name`, which its process `pid` wrote.
    pub fn add(&mut self, own: &mut OwnOutput, is_error: bool, (name, pid): (&str, Pid), lines: &[u8]) {
        if lines.is_empty() {
            return;
        }
        let written = self.stamped(pid, lines);
        match &mut self.place {
            Place::Launcher => {
                written.split_inclusive(|byte| *byte == b'\n').for_each(|line| own.line(is_error, name, line));
            }
            Place::File { file, path, size, max_bytes, backup_count } => {
                // circus takes the length without the times.
                let is_full = *max_bytes > 0 && *size + lines.len() as u64 >= *max_bytes;
                let done = (|| {
                    if is_full && *backup_count > 0 && *size > 0 {
                        rotate(path, *backup_count)?;
                        (*file, *size) = (append(path)?, 0);
                    }
                    file.write_all(&written)
                })();
                match done {
                    Ok(()) => *size += written.len() as u64,
                    // A full disk must not stop the application, and its output is worth more than the file.
                    Err(error) => {
                        own.line(true, "launcher", format!("{}: {error}", path.display()).as_bytes());
                        written.split_inclusive(|byte| *byte == b'\n').for_each(|line| own.line(is_error, name, line));
                    }
                }
            }
        }
    }

    /// Puts the time and the process's number before each line, as circus does (circus/stream/file_stream.py).
    fn stamped<'a>(&self, pid: Pid, lines: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(format) = &self.time_format else { return lines.into() };
        let prefix = format!("{} [{}] | ", clock::now(format), pid.as_raw_nonzero());
        let split = lines.split_inclusive(|byte| *byte == b'\n');
        split.flat_map(|line| [prefix.as_bytes(), line]).collect::<Vec<_>>().concat().into()
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Renames `app.log` to `app.log.1`, `app.log.1` to `app.log.2`, and so on.
fn rotate(path: &Path, backup_count: u32) -> io::Result<()> {
    let numbered = |number: u32| match number {
        0 => path.to_owned(),
        _ => PathBuf::from(format!("{}.{number}", path.display())),
    };
    for number in (0..backup_count).rev().filter(|number| numbered(*number).exists()) {
        fs::rename(numbered(number), numbered(number + 1))?;
    }
    Ok(())
}
