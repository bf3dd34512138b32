use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::listen;

/// The treatment of a gate's connections, old and new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Pass,
    /// After so many bytes, counted from when this was set, nothing more passes, and nobody is told.
    Stall {
        after: usize,
    },
    /// After so many bytes a connection is reset; then all passes again.
    Reset {
        after: usize,
    },
    /// Each direction passes this many bytes a second.
    Slow {
        rate: usize,
    },
    /// The next connections, this many, are dropped as they come, as sshd does to an address that it holds back; then
    /// all pass.
    Drop {
        connections: usize,
    },
}

/// A proxy by TCP on a loopback port before a server, for what a network does.
pub struct Gate {
    address: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    flow: Flow,
    passed: usize,
    came: usize,
    closed: bool,
    streams: Vec<TcpStream>,
    threads: Vec<JoinHandle<()>>,
}

impl Gate {
    /// Before the server on this loopback port.
    pub fn start(port: u16) -> Self {
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let state =
            State { flow: Flow::Pass, passed: 0, came: 0, closed: false, streams: Vec::new(), threads: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let theirs = shared.clone();
        let accept = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut state = theirs.state.lock().unwrap();
                if state.closed {
                    return;
                }
                state.came += 1;
                if let Flow::Drop { connections: left @ 1.. } = &mut state.flow {
                    // The connection is closed when its only handle is dropped.
                    *left -= 1;
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to, shared) = (from.try_clone().unwrap(), to.try_clone().unwrap(), theirs.clone());
                    state.threads.push(std::thread::spawn(move || shared.carry(from, to)));
                }
                state.streams.extend([client, server]);
            }
        });
        Self { address, shared, listener: Some(accept) }
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `127.0.0.1:PORT`
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    pub fn set(&self, flow: Flow) {
        let mut state = self.shared.state.lock().unwrap();
        (state.flow, state.passed) = (flow, 0);
        self.shared.changed.notify_all();
    }

    pub fn flow(&self) -> Flow {
        self.shared.state.lock().unwrap().flow
    }

    /// The number of connections that have come so far.
    pub fn came(&self) -> usize {
        self.shared.state.lock().unwrap().came
    }

    /// Returns the number of bytes that have passed since the flow was set.
    pub fn passed(&self) -> usize {
        self.shared.state.lock().unwrap().passed
    }
}

impl Shared {
    fn carry(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = [0; 4096];
        loop {
            let read = match from.read(&mut buffer) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => break,
                Ok(read) => read,
            };
            if !self.admit(read, &from, &to) || to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    }

    /// Waits until these bytes may pass; false if they never will.
    fn admit(&self, bytes: usize, from: &TcpStream, to: &TcpStream) -> bool {
        let mut state = self.state.lock().unwrap();
        loop {
            match state.flow {
                _ if state.closed => return false,
                Flow::Stall { after } if state.passed + bytes > after => state = self.changed.wait(state).unwrap(),
                Flow::Reset { after } if state.passed + bytes > after => {
                    state.flow = Flow::Pass;
                    for stream in [from, to] {
                        // Closed with a reset, as its last handle is dropped.
                        let _ = rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO));
                    }
                    let ends = [from.peer_addr().ok(), to.peer_addr().ok()];
                    state.streams.retain(|stream| !ends.contains(&stream.peer_addr().ok()));
                    let _ = from.shutdown(Shutdown::Read);
                    let _ = to.shutdown(Shutdown::Read);
                    return false;
                }
                Flow::Slow { rate } => {
                    state.passed += bytes;
                    drop(state);
                    std::thread::park_timeout(Duration::from_secs_f64(bytes as f64 / rate as f64));
                    return true;
                }
                _ => {
                    state.passed += bytes;
                    return true;
                }
            }
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let (streams, threads) = {
            let mut state = self.shared.state.lock().unwrap();
            state.closed = true;
            self.shared.changed.notify_all();
            (std::mem::take(&mut state.streams), std::mem::take(&mut state.threads))
        };
        // The accepting thread sees that it is over.
        let _ = TcpStream::connect(self.address);
        streams.iter().for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        let ended = threads.into_iter().chain(self.listener.take());
        ended.for_each(|thread| drop(thread.join()));
    }
}
