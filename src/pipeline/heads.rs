//! Notes which commits refs name, and tells by that which of two commits was the head of a ref later.

use std::time::Duration;

use tokio::time::timeout;

use super::Tools;
use super::clone::Fetched;
use super::failure::StageFailure;
use super::tags::{Contest, Later, LedgerError};
use crate::git::{Heads, Mirror};
use crate::model::{FailureClass, Job, LogSink, RepoRef, TagHolder};

/// The longest time that the remote may take to say which commit a ref names.
const LOOK: Duration = Duration::from_secs(30);

impl From<LedgerError> for StageFailure {
    fn from(error: LedgerError) -> Self {
        Self::new(FailureClass::LostWorker, format!("which image has a tag cannot be read or stored: {error}"))
    }
}

/// Notes what the mirror's last fetch found at the head of this ref and of the repository's others. A failure costs no
/// job: who lacks a head asks the remote.
pub(super) async fn note(tools: &Tools, mirror: &Mirror, own: &RepoRef, began: u64) {
    let ledger = &tools.tags.ledger;
    let noted = async {
        let watched = ledger.watched(&own.repository).await.map_err(|e| e.to_string())?;
        let mut refs: Vec<_> = watched.keys().cloned().collect();
        if !watched.contains_key(&own.git_ref) {
            refs.push(own.git_ref.clone());
        }
        let found = tools.git.mirror_heads(mirror, &refs).await.map_err(|e| e.message)?;
        let Some(Heads { number, mut commits }) = found else { return Ok(()) };
        // The same head again tells nothing new, but of our own ref that it is the head since our job began.
        commits.retain(|git_ref, commit| {
            watched.get(git_ref) != Some(commit) || (*git_ref == own.git_ref && number > began)
        });
        match commits.is_empty() {
            true => Ok(()),
            false => ledger.saw(&own.repository, number, commits).await.map_err(|e| e.to_string()),
        }
    };
    if let Err(error) = noted.await {
        tracing::warn!(error, "the heads that a fetch found cannot be noted");
    }
}

/// Tells which commit was the head of the ref later: ours, or the one that a tag was given by a job of the same ref.
pub(super) async fn later(
    tools: &Tools,
    fetched: &Fetched,
    job: &Job,
    (ours, of): (&str, &RepoRef),
    holder: &TagHolder,
    log: &dyn LogSink,
) -> Result<Later, StageFailure> {
    let ledger = &tools.tags.ledger;
    let theirs = holder.commit.as_str();
    let set_by_older_job = holder.job.is_some_and(|setter| setter < job.id);
    let contest = |seen| Contest { ours, theirs, began: fetched.began, seen, set_by_older_job };
    if let Some(later) = contest(ledger.last_seen(of, [ours, theirs]).await?).certain() {
        return Ok(later);
    }
    let looked = timeout(LOOK, tools.git.remote_head(&fetched.mirror, &of.git_ref)).await;
    let looked = looked.map_err(|_| format!("no answer within {} s", LOOK.as_secs()));
    let mut third = None;
    match looked.and_then(|looked| looked.map_err(|error| error.message)) {
        Ok(Heads { number, commits }) => {
            let head = commits.get(&of.git_ref).cloned();
            if !commits.is_empty() {
                ledger.saw(&of.repository, number, commits).await?;
            }
            if let Some(later) = head.as_ref().and_then(|head| contest([None; 2]).of_head(head)) {
                return Ok(later);
            }
            third = head;
        }
        Err(why) => {
            let line = format!("{} cannot be asked for its {}: {why}\n", of.repository, of.git_ref);
            log.write(line.as_bytes());
        }
    }
    let seen = ledger.last_seen(of, [ours, theirs]).await?;
    if let Some(later) = contest(seen).likely(&ledger.pushes(of).await?, third.as_deref()) {
        return Ok(later);
    }
    if let Some(head) = &third {
        let leads = async |from| tools.git.is_ancestor(&fetched.mirror, from, head).await;
        match (leads(ours).await?, leads(theirs).await?) {
            (true, false) => return Ok(Later::Ours),
            (false, true) => return Ok(Later::Theirs),
            _ => {}
        }
    }
    match !job.forced && tools.git.is_ancestor(&fetched.mirror, ours, theirs).await? {
        true => Ok(Later::Theirs),
        false => Ok(Later::Ours),
    }
}
