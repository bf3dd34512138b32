//! Commit statuses at the forges that have the repositories.

mod github;
mod reconcile;
mod status;

pub(super) use github::{CHANNEL, rows, send};
pub use github::{GitHub, GitHubAccess, GitHubConfig, GitHubError};
pub use reconcile::reconcile;
