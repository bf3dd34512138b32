//! Records which commits are the heads of refs, and finds from the records which of two commits was a ref's head later.

use std::time::Duration;

use tokio::time::timeout;

use super::Tools;
use super::clone::Fetched;
use super::failure::StageFailure;
use super::tags::{CommitPair, Later, LedgerError};
use crate::git::{Heads, Mirror};
use crate::model::{FailureClass, Job, LogSink, RepoRef, TagHolder};

/// Longest time that the remote may take to say which commit a ref names.
const REMOTE_TIMEOUT: Duration = Duration::from_secs(30);

impl From<LedgerError> for StageFailure {
    fn from(error: LedgerError) -> Self {
        Self::new(
            FailureClass::LostWorker,
            format!("the record of the images that have tags cannot be read or stored: {error}"),
        )
    }
}

/// Records the commits that the mirror's last fetch found at the heads of this ref and of the repository's other watched
/// refs. A failure fails no job, because a job that lacks a head asks the remote.
pub(super) async fn record_fetched(tools: &Tools, mirror: &Mirror, own: &RepoRef, began: u64) {
    let ledger = &tools.tags.ledger;
    let recorded = async {
        let watched = ledger.watched_refs(&own.repository).await.map_err(|e| e.to_string())?;
        let mut refs: Vec<_> = watched.keys().cloned().collect();
        if !watched.contains_key(&own.git_ref) {
            refs.push(own.git_ref.clone());
        }
        let found = tools.git.mirror_heads(mirror, &refs).await.map_err(|e| e.message)?;
        let Some(Heads { number, mut commits }) = found else { return Ok(()) };
        // An unchanged head is recorded for our own ref alone, where it shows that the commit is the head since our job began.
        commits.retain(|git_ref, commit| {
            watched.get(git_ref) != Some(commit) || (*git_ref == own.git_ref && number > began)
        });
        match commits.is_empty() {
            true => Ok(()),
            false => ledger.record_heads(&own.repository, number, commits).await.map_err(|e| e.to_string()),
        }
    };
    if let Err(error) = recorded.await {
        tracing::warn!(error, "the heads that a fetch found cannot be stored");
    }
}

/// Returns which commit was the head of the ref later: ours, or the one to which a job of the same ref set the tag.
pub(super) async fn later_head(
    tools: &Tools,
    fetched: &Fetched,
    job: &Job,
    (ours, of): (&str, &RepoRef),
    holder: &TagHolder,
    log: &dyn LogSink,
) -> Result<Later, StageFailure> {
    // Nothing but a repository has refs.
    let Some(mirror) = &fetched.mirror else { return Ok(Later::Ours) };
    let ledger = &tools.tags.ledger;
    let theirs = holder.commit.as_str();
    let set_by_older_job = holder.job.is_some_and(|setter| setter < job.id);
    let pair = |seen| CommitPair { ours, theirs, began: fetched.began, seen, set_by_older_job };
    if let Some(later) = pair(ledger.last_seen(of, [ours, theirs]).await?).by_recent_sightings() {
        return Ok(later);
    }
    let answer = timeout(REMOTE_TIMEOUT, tools.git.remote_head(mirror, &of.git_ref)).await;
    let answer = answer.map_err(|_| format!("no answer within {} s", REMOTE_TIMEOUT.as_secs()));
    let mut third = None;
    match answer.and_then(|answer| answer.map_err(|error| error.message)) {
        Ok(Heads { number, commits }) => {
            let head = commits.get(&of.git_ref).cloned();
            if !commits.is_empty() {
                ledger.record_heads(&of.repository, number, commits).await?;
            }
            if let Some(later) = head.as_ref().and_then(|head| pair([None; 2]).by_head(head)) {
                return Ok(later);
            }
            third = head;
        }
        Err(cause) => {
            let line = format!("{} cannot be asked for its {}: {cause}\n", of.repository, of.git_ref);
            log.write(line.as_bytes());
        }
    }
    let seen = ledger.last_seen(of, [ours, theirs]).await?;
    if let Some(later) = pair(seen).by_all_evidence(&ledger.pushes(of).await?, third.as_deref()) {
        return Ok(later);
    }
    if let Some(head) = &third {
        let leads = async |from| tools.git.is_ancestor(mirror, from, head).await;
        match (leads(ours).await?, leads(theirs).await?) {
            (true, false) => return Ok(Later::Ours),
            (false, true) => return Ok(Later::Theirs),
            _ => {}
        }
    }
    match !job.forced && tools.git.is_ancestor(mirror, ours, theirs).await? {
        true => Ok(Later::Theirs),
        false => Ok(Later::Ours),
    }
}
