//! The way to a repository's host: its URL, the ssh connection with the key in an agent, the token, redirects and the
//! trusted authorities.

pub(super) mod access;
pub(super) mod authorities;
pub(super) mod connection;
pub(super) mod redirect;
pub(super) mod refusals;
pub(super) mod remote;
pub(super) mod ssh;
pub(super) mod tarball_api;
pub(super) mod token;
