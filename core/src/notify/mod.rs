//! Sends the notifications in the outbox, each at least once, until it arrives or a day has passed.
//!
//! A [`Channel`] says which rows a job makes and how one row is sent. ARCHITECTURE.md lists what a new
//! channel needs.

mod channel;
mod chat;
mod dogstatsd;
mod forge;
mod hipchat;
mod lanes;
mod mail;
mod operators;
mod post_build;
mod send_error;
mod sender;
mod slack;
mod summary;
#[cfg(test)]
mod tests;

pub use channel::{Channel, Channels};
pub use chat::client as chat_client;
pub use dogstatsd::DogStatsd;
pub use forge::{CommitStatuses, GitHub, GitHubAccess, GitHubConfig, GitHubError};
pub use hipchat::{HipChat, HipChatConfig};
pub use mail::{MailChannel, MailConfig, Mailer};
pub use operators::{Operators, OperatorsConfig};
pub use post_build::{PostBuild, PostBuildConfig};
pub use send_error::SendError;
pub use sender::run;
pub use slack::{Slack, SlackConfig};
pub use summary::JobLinks;
