//! Decides which of two commits was a ref's head later: the one that a tag has, or ours.
//!
//! A sighting is a fetch, or a question to the remote, that finds a commit at the head of the ref. Only a sighting after our
//! job began is certain, because the push that made the job came before the job. If it finds our commit, a tag that an
//! older job set is older than ours. If it finds the other commit after the last sighting of ours, the other is newer. If
//! neither was seen, the remote is asked. Its answer decides if it is one of the two commits. A third commit has its own
//! job, which sets the tag as well. After a third commit or no answer, the pushes and older sightings decide if they agree.

use std::collections::{HashMap, HashSet};

use crate::model::RefUpdate;

/// The commit that a tag has and ours, both of one ref, with the sightings of both.
#[derive(Debug, Clone, Copy)]
pub struct CommitPair<'a> {
    pub ours: &'a str,
    pub theirs: &'a str,
    /// Number of the last sighting that had begun when our job began.
    pub began: u64,
    /// Numbers of the last sightings of our commit and of theirs.
    pub seen: [Option<u64>; 2],
    /// True if the tag was set by a job that is older than ours.
    pub set_by_older_job: bool,
}

/// The commit that was the head later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    Ours,
    Theirs,
}

impl CommitPair<'_> {
    /// Decides by the sightings since our job began. Returns `None` if the remote has to be asked.
    pub fn by_recent_sightings(&self) -> Option<Later> {
        let [ours, theirs] = self.seen;
        let began = Some(self.began);
        match () {
            () if theirs > began && theirs > ours => Some(Later::Theirs),
            () if ours > began && ours > theirs && self.set_by_older_job => Some(Later::Ours),
            () => None,
        }
    }

    /// Decides by the current head of the ref, which the remote has answered.
    pub fn by_head(&self, head: &str) -> Option<Later> {
        match head {
            head if head == self.ours => Some(Later::Ours),
            head if head == self.theirs => Some(Later::Theirs),
            _ => None,
        }
    }

    /// Decides by all sightings and pushes, if they agree. `head` is the remote's answer if it is a third commit. The one of
    /// the two commits from which pushes lead to `head` was the ref's head later.
    pub fn by_all_evidence(&self, pushes: &[RefUpdate], head: Option<&str>) -> Option<Later> {
        let seen = match self.seen {
            [Some(ours), Some(theirs)] if ours > theirs => Some(Later::Ours),
            [Some(_), Some(_)] => Some(Later::Theirs),
            // The push that made our job came before the job began, and their commit was seen after that.
            [None, Some(theirs)] if theirs > self.began => Some(Later::Theirs),
            _ => None,
        };
        let pushed =
            match (has_push_path(pushes, self.theirs, self.ours), has_push_path(pushes, self.ours, self.theirs)) {
                (true, false) => Some(Later::Ours),
                (false, true) => Some(Later::Theirs),
                (false, false) => {
                    match head.map(|head| [self.ours, self.theirs].map(|from| has_push_path(pushes, from, head))) {
                        Some([true, false]) => Some(Later::Ours),
                        Some([false, true]) => Some(Later::Theirs),
                        _ => None,
                    }
                }
                // The ref went back to a commit, so the pushes have no order.
                (true, true) => return None,
            };
        match (seen, pushed) {
            (Some(seen), Some(pushed)) if seen != pushed => None,
            _ => seen.or(pushed),
        }
    }
}

/// Returns whether pushes lead from one commit to another.
fn has_push_path(pushes: &[RefUpdate], from: &str, to: &str) -> bool {
    let mut next = HashMap::<&str, Vec<&str>>::new();
    for RefUpdate { before, after } in pushes {
        next.entry(before.as_str()).or_default().push(after.as_str());
    }
    let (mut open, mut visited) = (vec![from], HashSet::from([from]));
    while let Some(at) = open.pop() {
        for &after in next.get(at).into_iter().flatten() {
            if after == to {
                return true;
            }
            if visited.insert(after) {
                open.push(after);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
