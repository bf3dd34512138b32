//! The signals that the launcher takes, and the names of all of them.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::low_level::pipe;

/// Signals that stop the application: Ctrl-C, `docker stop`, Ctrl-\, and a terminal that was closed.
const STOP: [i32; 4] = [SIGINT, SIGTERM, SIGQUIT, SIGHUP];

/// Numbers of the signals of Linux by their names without SIG (signal(7), x86 and ARM).
const NAMES: [(&str, i32); 33] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", 34),
    ("RTMAX", 64),
];

/// Returns the number of a signal by its name without SIG.
pub fn number(name: &str) -> Option<i32> {
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

/// Returns `SIGTERM` for 15.
pub fn name(number: i32) -> String {
    let name = NAMES.iter().find(|(_, known)| *known == number);
    name.map_or_else(|| format!("signal {number}"), |(name, _)| format!("SIG{name}"))
}

/// The signals that came since the launcher began to take them.
pub struct Signals {
    stop: UnixStream,
    child: UnixStream,
}

impl Signals {
    /// Takes signals from now on. Without it they end the process at once.
    ///
    /// # Errors
    /// The system has no sockets left.
    pub fn take() -> io::Result<Self> {
        let (stop, stop_end) = UnixStream::pair()?;
        let (child, child_end) = UnixStream::pair()?;
        for signal in STOP {
            pipe::register(signal, stop_end.try_clone()?)?;
        }
        pipe::register(SIGCHLD, child_end)?;
        stop.set_nonblocking(true)?;
        child.set_nonblocking(true)?;
        Ok(Self { stop, child })
    }

    /// Returns the descriptors that become readable by a signal.
    pub fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        [self.stop.as_fd(), self.child.as_fd()]
    }

    /// Returns how many signals asked to stop since the last call.
    pub fn stops(&self) -> usize {
        drain(&self.stop)
    }

    /// Forgets that processes ended, before the caller waits for each of them.
    pub fn forget_children(&self) {
        drain(&self.child);
    }
}

fn drain(mut stream: &UnixStream) -> usize {
    let mut buffer = [0; 64];
    let mut count = 0;
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        count += read;
    }
    count
}
