//! Outgoing HTTP: the policy of every client, the addresses that requests may go to, answers of bounded size, redirects.
//!
//! Each client states its route and its timeouts. No client follows redirects by itself: a request may carry a token or
//! a signature, so the caller decides whether the next server may see it.

mod address;
mod body;
mod client;
mod error;
mod redirect;
mod trust;

pub use address::{
    FilteringResolver, addresses, is_forbidden_target, is_local_or_forbidden, is_loopback, is_loopback_host,
    is_private_or_local, literal,
};
pub use body::{BodyError, read_limited};
pub use client::{Route, client, install_tls_provider, trust_bundle};
pub use error::{causes, chain};
pub use redirect::{location, stays_on_origin};
pub use trust::trust_certificates;
