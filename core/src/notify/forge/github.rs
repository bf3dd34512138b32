//! Commit statuses at GitHub: `POST /repos/{owner}/{repo}/statuses/{sha}`
//! (<https://docs.github.com/en/rest/commits/statuses>).

mod api;
mod app;
mod client;
mod config;
mod limit;
#[cfg(test)]
mod tests;

pub use client::GitHub;
pub use config::{GitHubAccess, GitHubConfig, GitHubError};
