use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// True if this process has the name from now on, until it ends; false if any process has it already. The claim is a
/// socket with an abstract name: one process of the machine's network can have it, no file is left of it, and the
/// kernel takes it back however the process ends.
pub(super) fn claim(name: &str) -> bool {
    let name = SocketAddr::from_abstract_name(format!("image-factory-test/{name}")).unwrap();
    let Ok(socket) = UnixDatagram::bind_addr(&name) else { return false };
    std::mem::forget(socket);
    true
}
