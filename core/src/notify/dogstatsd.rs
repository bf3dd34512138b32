//! Timings, errors and events of builds for a DogStatsD agent, as Conveyor sent them (`builder/datadog/datadog.go`), in
//! datagrams of <https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/>. The three lines are written here,
//! because the crate `cadence` has no events, and `dogstatsd` brings chrono and a blocking socket.

use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::{UdpSocket, lookup_host};

use super::channel::Channel;
use super::send_error::SendError;
use crate::model::{CommitId, Job, Millis, Status};
use crate::store::{NewNotification, Notification};

const NAME: &str = "dogstatsd";

/// Sends what each build took, or that it failed, to one agent.
pub struct DogStatsd {
    /// Host and port of STATS.
    pub host: String,
    pub port: u16,
}

impl DogStatsd {
    fn destination(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    async fn send_lines(&self, lines: &str) -> Result<(), SendError> {
        let trouble = |error| SendError::transient(format!("{} cannot be reached: {error}", self.destination()));
        let mut addresses = lookup_host((self.host.as_str(), self.port)).await.map_err(trouble)?;
        let address = addresses.next().ok_or_else(|| trouble(std::io::ErrorKind::NotFound.into()))?;
        let any = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind::<(std::net::IpAddr, u16)>((any, 0)).await.map_err(trouble)?;
        for line in lines.lines() {
            socket.send_to(line.as_bytes(), address).await.map_err(trouble)?;
        }
        Ok(())
    }
}

impl Channel for DogStatsd {
    fn name(&self) -> &'static str {
        NAME
    }

    /// Returns a row for a job that has succeeded or failed. The body has a datagram in each line.
    fn rows(&self, job: &Job, _previous: Option<Status>) -> Vec<NewNotification> {
        let row = |body| {
            let (destination, lane) = (self.destination(), format!("{NAME} {}", job.id));
            NewNotification { channel: NAME, destination, lane, replaces: false, body }
        };
        datagrams(job).map(row).into_iter().collect()
    }

    fn host(&self, destination: &str) -> Option<String> {
        (destination == self.destination()).then(|| self.host.clone())
    }

    fn send<'a>(&'a self, notification: &'a Notification, _now: Millis) -> BoxFuture<'a, Result<(), SendError>> {
        self.send_lines(&notification.body).boxed()
    }
}

/// Returns the datagrams of an ended job, one a line. A job that was cancelled says nothing about builds.
fn datagrams(job: &Job) -> Option<String> {
    let context = &job.context;
    let repo = clean(&format!("{}/{}", context.owner, context.repo));
    match job.status {
        Status::Failure => Some(format!("conveyor.build.error:1|c|#repo:{repo}")),
        Status::Success => {
            let branch = if context.branch_left_out { "" } else { &*context.branch };
            let sha = job.resolved_commit.as_ref().map_or(&*context.commit, CommitId::as_str);
            let [branch, sha, image] = [branch, sha, &job.image].map(clean);
            let (title, text) = (format!("Conveyor built {image}"), format!("Built {image} from {repo}@{branch}"));
            let (title_length, text_length) = (title.len(), text.len());
            let took = job.took().unwrap_or_default().as_millis();
            Some(format!(
                "conveyor.build.time:{took}|ms|#repo:{repo}\n_e{{{title_length},{text_length}}}:{title}|{text}\
                 |#repo:{repo},branch:{branch},sha:{sha},image:{image}"
            ))
        }
        _ => None,
    }
}

/// Replaces the characters that separate tags, parts and lines of a datagram, which a branch's name may have.
fn clean(text: &str) -> String {
    text.replace(|c: char| c.is_control() || matches!(c, ',' | '|' | '#'), "_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::summary::testing::{job, successful_job};

    #[test]
    fn a_success_is_timed_and_a_failure_counted() {
        let ran = |job: Job| Job { first_start: Some(Millis(1_000)), end: Some(Millis(63_345)), ..job };
        insta::assert_snapshot!(datagrams(&ran(successful_job())).unwrap(), @"
        conveyor.build.time:62345|ms|#repo:acme/hello
        _e{37,52}:Conveyor built q.io/t/acme-hello:HEAD|Built q.io/t/acme-hello:HEAD from acme/hello@develop|#repo:acme/hello,branch:develop,sha:1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d,image:q.io/t/acme-hello:HEAD
        ");
        let odd = Job { status: Status::Success, ..job("acme", "a,b|c\nd", "") };
        insta::assert_snapshot!(datagrams(&ran(odd)).unwrap(), @"
        conveyor.build.time:62345|ms|#repo:acme/hello
        _e{37,52}:Conveyor built q.io/t/acme-hello:HEAD|Built q.io/t/acme-hello:HEAD from acme/hello@a_b_c_d|#repo:acme/hello,branch:a_b_c_d,sha:1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d1a2b3c4d,image:q.io/t/acme-hello:HEAD
        ");
        insta::assert_snapshot!(datagrams(&ran(job("acme", "main", "x"))).unwrap(), @"conveyor.build.error:1|c|#repo:acme/hello");
        assert_eq!(datagrams(&Job { status: Status::Cancelled, ..job("acme", "main", "x") }), None);
    }
}
