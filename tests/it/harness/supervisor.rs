use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{eventually, folder};

/// The socket of a `Type=notify` service, as systemd has one, and what came by it.
pub struct Supervisor {
    socket: UnixDatagram,
    heard: Mutex<Vec<(Instant, String)>>,
    dir: TempDir,
}

impl Supervisor {
    pub fn start() -> Self {
        let dir = folder();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self { socket, heard: Mutex::default(), dir }
    }

    /// For NOTIFY_SOCKET.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// Every line that has come, with when it was found.
    pub fn heard(&self) -> Vec<(Instant, String)> {
        let mut heard = self.heard.lock().unwrap();
        let mut buffer = [0; 4096];
        while let Ok(size) = self.socket.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..size]).into_owned();
            heard.extend(text.lines().map(|line| (Instant::now(), line.to_owned())));
        }
        heard.clone()
    }

    pub fn count(&self, line: &str) -> usize {
        self.heard().iter().filter(|(_, heard)| heard == line).count()
    }

    /// The first line from now on that `fits`.
    pub async fn next(&self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let before = self.heard().len();
        eventually(Duration::from_secs(30), what, async || {
            self.heard()[before..].iter().map(|(_, line)| line.clone()).find(|line| fits(line))
        })
        .await
    }
}
