//! Loopback ports for the tests' servers, below the ephemeral range.
//!
//! A client that connects to a free port of the ephemeral range can be given that very port as its own: it then talks to
//! itself, and the server that comes back to its port finds it in use. Nobody is given a port below that range without
//! asking for it.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};

use super::claim::claim;

/// Most well-known services have ports below this one.
const LOWEST: u16 = 10_000;

/// A port that this process has until it ends, free for TCP and UDP.
pub fn port() -> u16 {
    let range = below_the_ephemeral();
    for _ in 0..1000 {
        let port = fastrand::u16(range.clone());
        if claim(&format!("port-{port}")) && is_free(port) {
            return port;
        }
    }
    panic!("no port of {range:?} is free");
}

/// N different ports.
pub fn ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| port())
}

/// A listener on a port of this process, on this address of loopback.
pub fn listen_at(address: Ipv4Addr) -> TcpListener {
    for _ in 0..5 {
        // A program that claims nothing may be quicker.
        if let Ok(listener) = TcpListener::bind((address, port())) {
            return listener;
        }
    }
    panic!("five ports were taken as soon as they were found");
}

/// A listener on a port of this process, on 127.0.0.1.
pub fn listen() -> TcpListener {
    listen_at(Ipv4Addr::LOCALHOST)
}

fn below_the_ephemeral() -> std::ops::Range<u16> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
    let end = range.split_whitespace().next().unwrap().parse().unwrap();
    // A machine whose ephemeral range begins lower has no better ones.
    if end >= LOWEST + 1000 { LOWEST..end } else { LOWEST..32_768 }
}

fn is_free(port: u16) -> bool {
    // The check binds every address, because a server on 0.0.0.0 is in the way of one on 127.0.0.1.
    TcpListener::bind(("0.0.0.0", port)).is_ok() && UdpSocket::bind(("0.0.0.0", port)).is_ok()
}
