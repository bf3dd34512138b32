//! The webhooks of the forges.

pub mod github;
mod signature;
