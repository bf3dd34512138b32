//! Commit statuses at the forges that have the repositories. GitHub is the only forge so far.

mod github;
mod reconcile;
mod status;
mod statuses;

pub use github::{GitHub, GitHubAccess, GitHubConfig, GitHubError};
pub use statuses::CommitStatuses;
