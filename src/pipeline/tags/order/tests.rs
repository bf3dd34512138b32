use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::model::CommitId;

const OURS: &str = "000000000000000000000000000000006f757273";
const THEIRS: &str = "0000000000000000000000000000746865697273";

fn contest(seen: [Option<u64>; 2]) -> Contest<'static> {
    Contest { ours: OURS, theirs: THEIRS, began: 5, seen, set_by_older_job: true }
}

/// The id whose last digits spell this name.
fn id(name: &str) -> CommitId {
    format!("{:0>40}", hex::encode(name)).parse().unwrap()
}

#[test]
fn both_commits_are_spelled() {
    assert_eq!([id("ours").as_str(), id("theirs").as_str()], [OURS, THEIRS]);
}

fn push(before: &str, after: &str) -> RefUpdate {
    RefUpdate { before: id(before), after: id(after) }
}

#[test]
fn only_what_was_seen_since_the_job_began_is_certain() {
    for (seen, later) in [
        ([Some(6), None], Some(Later::Ours)),
        ([Some(7), Some(6)], Some(Later::Ours)),
        ([Some(6), Some(7)], Some(Later::Theirs)),
        ([None, Some(6)], Some(Later::Theirs)),
        ([Some(5), Some(4)], None),
        ([Some(4), Some(5)], None),
        ([None, None], None),
    ] {
        assert_eq!(contest(seen).certain(), later, "{seen:?}");
    }
    // A job that came after ours may have found its commit in the mirror, without a fetch that shows it.
    assert_eq!(Contest { set_by_older_job: false, ..contest([Some(6), Some(1)]) }.certain(), None);
}

#[test]
fn pushes_and_older_sights_tell_as_long_as_they_agree() {
    let none = [None, None];
    assert_eq!(contest(none).likely(&[push("ours", "x"), push("x", "theirs")], None), Some(Later::Theirs));
    assert_eq!(contest(none).likely(&[push("theirs", "x"), push("x", "ours")], None), Some(Later::Ours));
    assert_eq!(contest(none).likely(&[push("x", "ours"), push("x", "theirs")], None), None);
    assert_eq!(contest(none).likely(&[push("ours", "theirs"), push("theirs", "ours")], None), None);
    assert_eq!(contest([Some(1), Some(2)]).likely(&[], None), Some(Later::Theirs));
    // A third commit is the head, and pushes lead to it from one of the two.
    let amended = [push("x", "ours"), push("theirs", "head")];
    assert_eq!(contest(none).likely(&amended, Some(id("head").as_str())), Some(Later::Theirs));
    assert_eq!(contest(none).likely(&[push("ours", "head")], Some(id("head").as_str())), Some(Later::Ours));
    assert_eq!(contest(none).likely(&[push("ours", "head"), push("theirs", "head")], Some(id("head").as_str())), None);
    assert_eq!(contest([Some(2), Some(1)]).likely(&[push("theirs", "ours")], None), Some(Later::Ours));
    assert_eq!(contest([Some(2), Some(1)]).likely(&[push("ours", "theirs")], None), None);
    assert_eq!(contest([Some(2), Some(1)]).likely(&[push("ours", "theirs"), push("theirs", "ours")], None), None);
}

/// A step in the life of a ref and of the jobs that its pushes make. A number picks one of those that there are.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody pushes this commit.
    Push(usize),
    /// A webhook arrives, out of turn.
    Hook(usize),
    /// A webhook is lost.
    Lose(usize),
    /// Another ref's job fetches.
    Fetch,
    /// A waiting job begins, and fetches unless its commit was fetched before.
    Begin(usize),
    /// A job has built and comes to the tag; the remote may be away.
    JobEnd(usize, bool),
}

struct Waiting {
    id: usize,
    commit: usize,
    began: u64,
}

/// A ref, the daemon, and the truth that the daemon does not know.
#[derive(Default)]
struct World {
    /// All heads so far; a commit that comes back is here twice.
    heads: Vec<usize>,
    /// The pushes whose webhooks are on their way, by their places in `heads`.
    hooks: Vec<usize>,
    jobs: usize,
    queued: Vec<(usize, usize)>,
    building: Vec<Waiting>,
    pushes: Vec<RefUpdate>,
    number: u64,
    seen: HashMap<usize, u64>,
    fetched: usize,
    /// The commit and the newest job that gave it.
    tag: Option<(usize, usize)>,
    /// The answers that the evidence gave: our commit, theirs, and which was later.
    told: Vec<(usize, usize, Later)>,
    /// Commits whose jobs came to the tag.
    came: Vec<usize>,
}

fn name(commit: usize) -> CommitId {
    id(&format!("c{commit}"))
}

impl World {
    fn fetch(&mut self) {
        self.number += 1;
        if let Some(&head) = self.heads.last() {
            self.seen.insert(head, self.number);
        }
        self.fetched = self.heads.len();
    }

    fn begin(&mut self, at: usize) {
        let (id, commit) = self.queued.remove(at);
        let began = self.number;
        if !self.heads[..self.fetched].contains(&commit) {
            self.fetch();
        }
        self.building.push(Waiting { id, commit, began });
    }

    fn end(&mut self, at: usize, away: bool) {
        let Waiting { id, commit, began } = self.building.remove(at);
        self.came.push(commit);
        let (theirs, by) = match self.tag {
            Some((theirs, by)) if theirs != commit => (theirs, by),
            same => {
                self.tag = Some((commit, same.map_or(id, |(_, by)| by.max(id))));
                return;
            }
        };
        let names = [commit, theirs].map(name);
        let contest = |seen: &HashMap<usize, u64>| Contest {
            ours: names[0].as_str(),
            theirs: names[1].as_str(),
            began,
            seen: [commit, theirs].map(|commit| seen.get(&commit).copied()),
            set_by_older_job: by < id,
        };
        let (mut later, mut head) = (contest(&self.seen).certain(), None);
        if later.is_none() && !away {
            self.fetch();
            head = self.heads.last().map(|head| name(*head));
            later = head.as_ref().and_then(|head| contest(&self.seen).of_head(head.as_str()));
        }
        let later = later.or_else(|| contest(&self.seen).likely(&self.pushes, head.as_ref().map(CommitId::as_str)));
        self.told.extend(later.map(|later| (commit, theirs, later)));
        // The greater number is the descendant.
        let ancestors = if commit < theirs { Later::Theirs } else { Later::Ours };
        if later.unwrap_or(ancestors) == Later::Ours {
            self.tag = Some((commit, id));
        }
    }

    fn hook(&mut self, at: usize) {
        let place = self.hooks.remove(at);
        if let Some(before) = place.checked_sub(1) {
            self.pushes.push(RefUpdate { before: name(self.heads[before]), after: name(self.heads[place]) });
        }
        self.queued.push((self.jobs, self.heads[place]));
        self.jobs += 1;
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Push(commit) if self.heads.last() != Some(&commit) => {
                self.hooks.push(self.heads.len());
                self.heads.push(commit);
            }
            Step::Hook(pick) if !self.hooks.is_empty() => self.hook(pick % self.hooks.len()),
            Step::Lose(pick) if !self.hooks.is_empty() => {
                self.hooks.remove(pick % self.hooks.len());
            }
            Step::Fetch => self.fetch(),
            Step::Begin(pick) if !self.queued.is_empty() => self.begin(pick % self.queued.len()),
            Step::JobEnd(pick, away) if !self.building.is_empty() => self.end(pick % self.building.len(), away),
            _ => {}
        }
    }

    /// Takes the steps; then the webhooks that are left arrive, and all jobs end.
    fn live(steps: &[Step]) -> Self {
        let mut world = Self::default();
        for step in steps {
            world.step(step);
        }
        while !(world.hooks.is_empty() && world.queued.is_empty() && world.building.is_empty()) {
            for step in [Step::Hook(0), Step::Begin(1), Step::JobEnd(1, false)] {
                world.step(&step);
            }
        }
        world
    }
}

/// Steps of which some lose webhooks or find the remote away, if `trouble`.
fn steps(trouble: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5usize).prop_map(Step::Push),
        3 => (0..4usize).prop_map(Step::Hook),
        u32::from(trouble) => (0..4usize).prop_map(Step::Lose),
        1 => Just(Step::Fetch),
        3 => (0..4usize).prop_map(Step::Begin),
        3 => ((0..4usize), any::<bool>()).prop_map(move |(pick, away)| Step::JobEnd(pick, away && trouble)),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Commits come and go in any order, also back: as long as every push is told some day, in whatever order, the tag
    /// ends where the ref does.
    #[test]
    fn the_tag_ends_at_the_head(steps in steps(false)) {
        let world = World::live(&steps);
        prop_assert_eq!(world.tag.map(|(commit, _)| commit), world.heads.last().copied());
    }

    /// Webhooks are lost and the remote is away, but no commit comes back: what the evidence tells is true.
    #[test]
    fn evidence_is_true(mut steps in steps(true), order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut fresh = order.into_iter();
        for step in &mut steps {
            if let Step::Push(commit) = step {
                *commit = fresh.next().unwrap();
            }
        }
        let world = World::live(&steps);
        let place = |commit| world.heads.iter().position(|head| *head == commit);
        for (ours, theirs, later) in world.told {
            prop_assert_eq!(later == Later::Theirs, place(theirs) > place(ours));
        }
    }

    /// The same where each commit follows the former one: the tag ends at the newest commit that had a job.
    #[test]
    fn the_newest_commit_that_was_told_has_the_tag(mut steps in steps(true)) {
        let mut fresh = 0..;
        for step in &mut steps {
            if let Step::Push(commit) = step {
                *commit = fresh.next().unwrap();
            }
        }
        let world = World::live(&steps);
        prop_assert_eq!(world.tag.map(|(commit, _)| commit), world.came.iter().max().copied());
    }
}
