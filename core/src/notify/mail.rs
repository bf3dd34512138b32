//! Mail, with the subjects of docteurklein/compose-ci. Each address gets a mail of its own, so that one that is refused
//! keeps it from no other.

mod content;
mod smtp;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;

use super::channel::Channel;
use super::send_error::SendError;
use super::summary::{JobLinks, JobSummary};
use crate::logs::Logs;
use crate::model::{Job, JobId, Millis, Occasion, Status};
use crate::store::{NewNotification, Notification};
use content::{LogTail, MailContent};
pub use smtp::{MailConfig, Mailer};

const NAME: &str = "mail";

/// The end of a log that a mail has, in bytes.
const TAIL: u64 = 256 << 10;

/// Mails the result of each job to every address.
pub struct MailChannel {
    pub mailer: Mailer,
    pub logs: Logs,
    /// The occasions that the addresses are notified of.
    pub occasions: Vec<Occasion>,
    pub links: JobLinks,
}

/// Returns a row of this channel for each address of the mailer.
pub(super) fn rows(mailer: &Mailer, channel: &'static str, summary: &JobSummary) -> Vec<NewNotification> {
    let body = serde_json::to_string(&MailContent::new(summary)).expect("a struct of strings is JSON");
    let row = |to: &Mailbox| {
        let destination = to.email.to_string();
        let lane = format!("{channel} {destination} {}", summary.job.id);
        NewNotification { channel, destination, lane, replaces: false, body: body.clone() }
    };
    mailer.to().iter().map(row).collect()
}

/// Sends such a row as a mail.
pub(super) async fn send(mailer: &Mailer, logs: &Logs, notification: &Notification) -> Result<(), SendError> {
    let Notification { id, job, destination, created, body, .. } = notification;
    let to = mailer.to().iter().find(|to| to.email.to_string() == *destination);
    let to =
        to.ok_or_else(|| SendError::permanent(format!("{} no longer has this address", mailer.receivers_setting())))?;
    let content: MailContent = serde_json::from_str(body)
        .map_err(|error| SendError::permanent(format!("its row in the outbox is damaged: {error}")))?;
    let tail = log_tail(logs, *job).await;
    let tail = tail.map_err(|error| SendError::transient(format!("the log cannot be read: {error}")))?;
    let message = content.message(mailer.from(), to, id, *created, &tail);
    let message = message.map_err(|error| SendError::permanent(format!("the mail cannot be written: {error}")))?;
    mailer.send(message).await
}

impl Channel for MailChannel {
    fn name(&self) -> &'static str {
        NAME
    }

    fn rows(&self, job: &Job, previous: Option<Status>) -> Vec<NewNotification> {
        let Some(summary) = JobSummary::new(job, previous, &self.occasions, &self.links) else { return Vec::new() };
        rows(&self.mailer, NAME, &summary)
    }

    fn host(&self, _destination: &str) -> Option<String> {
        Some(self.mailer.host().to_owned())
    }

    fn send<'a>(&'a self, notification: &'a Notification, _now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        send(&self.mailer, &self.logs, notification).boxed()
    }
}

/// Reads the end of a log, from the beginning of a line on.
async fn log_tail(logs: &Logs, job: JobId) -> std::io::Result<LogTail> {
    let end = logs.len(job).await?;
    let start = end.saturating_sub(TAIL);
    let (mut log, mut bytes) = (logs.range(job, start, end), Vec::with_capacity((end - start) as usize));
    while let Some(piece) = log.next().await? {
        bytes.extend_from_slice(&piece);
    }
    let mut cut = start;
    if start > 0
        && let Some(newline) = bytes.iter().position(|&byte| byte == b'\n')
    {
        bytes.drain(..=newline);
        cut += newline as u64 + 1;
    }
    Ok(LogTail { bytes, cut })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_long_log_is_cut_at_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let (logs, job) = (Logs::open(dir.path().into()).unwrap(), JobId::new());
        assert_eq!(log_tail(&logs, job).await.unwrap().bytes, b"");
        let line = "x".repeat(99) + "\n";
        fs::write(dir.path().join(format!("{job}.log")), "begin\n".to_owned() + &line.repeat(4000)).unwrap();
        let LogTail { bytes, cut } = log_tail(&logs, job).await.unwrap();
        assert_eq!(cut + bytes.len() as u64, 400_006);
        assert!(bytes.len() as u64 <= TAIL && bytes.len() as u64 > TAIL - 200);
        assert!(bytes.starts_with(line.as_bytes()) && (cut - 6) % 100 == 0);
    }
}
