//! Tells which of two commits was a ref's head later: the one that a tag has, or ours.
//!
//! A sight made after our job began is certain, and no other, because the push that made the job came before. A fetch or a look
//! that then finds our commit at the head shows that a tag which an older job set is older than ours; one that finds the
//! other commit after the last sight of ours shows that it is newer. Where neither was seen, the remote is asked. Its
//! answer settles the question if it is one of the two commits; if it is a third, whose own job comes to the tag as well,
//! or if there is no answer, the pushes and older sights tell, as long as they agree.

use std::collections::{HashMap, HashSet};

use crate::model::RefUpdate;

/// The commit that a tag has, and ours; both of one ref.
#[derive(Debug, Clone, Copy)]
pub struct Contest<'a> {
    pub ours: &'a str,
    pub theirs: &'a str,
    /// The number of the last fetch or look that had begun when our job began.
    pub began: u64,
    /// The numbers of the last ones that found our commit and theirs at the head of the ref.
    pub seen: [Option<u64>; 2],
    /// True if the tag was set by a job that is older than ours.
    pub set_by_older_job: bool,
}

/// Which commit was the head later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Later {
    Ours,
    Theirs,
}

impl Contest<'_> {
    /// Judges by what was seen since our job began. None: the remote has to be asked.
    pub fn certain(&self) -> Option<Later> {
        let [ours, theirs] = self.seen;
        let began = Some(self.began);
        match () {
            () if theirs > began && theirs > ours => Some(Later::Theirs),
            () if ours > began && ours > theirs && self.set_by_older_job => Some(Later::Ours),
            () => None,
        }
    }

    /// Judges by the head of the ref now, as the remote answers.
    pub fn of_head(&self, head: &str) -> Option<Later> {
        match head {
            head if head == self.ours => Some(Later::Ours),
            head if head == self.theirs => Some(Later::Theirs),
            _ => None,
        }
    }

    /// Judges by what was seen at any time and by the pushes, if all of it agrees. `head` is the remote's answer if that
    /// is a third commit: the one of the two from which pushes lead to it was there later.
    pub fn likely(&self, pushes: &[RefUpdate], head: Option<&str>) -> Option<Later> {
        let seen = match self.seen {
            [Some(ours), Some(theirs)] if ours > theirs => Some(Later::Ours),
            [Some(_), Some(_)] => Some(Later::Theirs),
            // Our job is of a push before it began.
            [None, Some(theirs)] if theirs > self.began => Some(Later::Theirs),
            _ => None,
        };
        let pushed = match (leads(pushes, self.theirs, self.ours), leads(pushes, self.ours, self.theirs)) {
            (true, false) => Some(Later::Ours),
            (false, true) => Some(Later::Theirs),
            (false, false) => match head.map(|head| [self.ours, self.theirs].map(|from| leads(pushes, from, head))) {
                Some([true, false]) => Some(Later::Ours),
                Some([false, true]) => Some(Later::Theirs),
                _ => None,
            },
            // The ref went back to a commit.
            (true, true) => return None,
        };
        match (seen, pushed) {
            (Some(seen), Some(pushed)) if seen != pushed => None,
            _ => seen.or(pushed),
        }
    }
}

/// True if pushes lead from one commit to another.
fn leads(pushes: &[RefUpdate], from: &str, to: &str) -> bool {
    let mut next = HashMap::<&str, Vec<&str>>::new();
    for RefUpdate { before, after } in pushes {
        next.entry(before.as_str()).or_default().push(after.as_str());
    }
    let (mut open, mut met) = (vec![from], HashSet::from([from]));
    while let Some(at) = open.pop() {
        for &after in next.get(at).into_iter().flatten() {
            if after == to {
                return true;
            }
            if met.insert(after) {
                open.push(after);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests;
