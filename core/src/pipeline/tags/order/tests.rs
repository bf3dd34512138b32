use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::model::CommitId;

const OURS: &str = "000000000000000000000000000000006f757273";
const THEIRS: &str = "0000000000000000000000000000746865697273";

fn pair(seen: [Option<u64>; 2]) -> CommitPair<'static> {
    CommitPair { ours: OURS, theirs: THEIRS, began: 5, seen, set_by_older_job: true }
}

/// Returns the id whose last digits spell this name in hexadecimal ASCII.
fn id(name: &str) -> CommitId {
    format!("{:0>40}", hex::encode(name)).parse().unwrap()
}

#[test]
fn the_constants_spell_their_names() {
    assert_eq!([id("ours").as_str(), id("theirs").as_str()], [OURS, THEIRS]);
}

fn push(before: &str, after: &str) -> RefUpdate {
    RefUpdate { before: id(before), after: id(after) }
}

#[test]
fn sightings_since_the_job_began_decide() {
    for (seen, later) in [
        ([Some(6), None], Some(Later::Ours)),
        ([Some(7), Some(6)], Some(Later::Ours)),
        ([Some(6), Some(7)], Some(Later::Theirs)),
        ([None, Some(6)], Some(Later::Theirs)),
        ([Some(5), Some(4)], None),
        ([Some(4), Some(5)], None),
        ([None, None], None),
    ] {
        assert_eq!(pair(seen).by_recent_sightings(), later, "{seen:?}");
    }
    // A job that is newer than ours may have found its commit in the mirror, so no fetch shows the sighting.
    assert_eq!(CommitPair { set_by_older_job: false, ..pair([Some(6), Some(1)]) }.by_recent_sightings(), None);
}

#[test]
fn pushes_and_older_sightings_decide_if_they_agree() {
    let none = [None, None];
    assert_eq!(pair(none).by_all_evidence(&[push("ours", "x"), push("x", "theirs")], None), Some(Later::Theirs));
    assert_eq!(pair(none).by_all_evidence(&[push("theirs", "x"), push("x", "ours")], None), Some(Later::Ours));
    assert_eq!(pair(none).by_all_evidence(&[push("x", "ours"), push("x", "theirs")], None), None);
    assert_eq!(pair(none).by_all_evidence(&[push("ours", "theirs"), push("theirs", "ours")], None), None);
    assert_eq!(pair([Some(1), Some(2)]).by_all_evidence(&[], None), Some(Later::Theirs));
    // A third commit is the head, and pushes lead to it from one of the two commits.
    let amended = [push("x", "ours"), push("theirs", "head")];
    assert_eq!(pair(none).by_all_evidence(&amended, Some(id("head").as_str())), Some(Later::Theirs));
    assert_eq!(pair(none).by_all_evidence(&[push("ours", "head")], Some(id("head").as_str())), Some(Later::Ours));
    assert_eq!(
        pair(none).by_all_evidence(&[push("ours", "head"), push("theirs", "head")], Some(id("head").as_str())),
        None
    );
    assert_eq!(pair([Some(2), Some(1)]).by_all_evidence(&[push("theirs", "ours")], None), Some(Later::Ours));
    assert_eq!(pair([Some(2), Some(1)]).by_all_evidence(&[push("ours", "theirs")], None), None);
    assert_eq!(pair([Some(2), Some(1)]).by_all_evidence(&[push("ours", "theirs"), push("theirs", "ours")], None), None);
}

/// A random event of a ref or of the jobs that its pushes make. A number selects one of the candidates.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody pushes this commit.
    Push(usize),
    /// A webhook arrives, in any order.
    Hook(usize),
    /// A webhook is lost.
    Lose(usize),
    /// The job of another ref fetches.
    Fetch,
    /// A queued job begins. It fetches, unless its commit was fetched before.
    Begin(usize),
    /// A job has built its image and sets the tag. The flag makes the remote unreachable.
    JobEnd(usize, bool),
}

/// A job that has begun.
struct BuildingJob {
    id: usize,
    commit: usize,
    began: u64,
}

/// A simulated ref and daemon, with the full history of the ref, which the daemon does not know.
#[derive(Default)]
struct Simulation {
    /// All heads so far. A commit to which the ref comes back is here twice.
    heads: Vec<usize>,
    /// Pushes whose webhooks have not arrived, by their places in `heads`.
    hooks: Vec<usize>,
    jobs: usize,
    queued: Vec<(usize, usize)>,
    building: Vec<BuildingJob>,
    pushes: Vec<RefUpdate>,
    number: u64,
    seen: HashMap<usize, u64>,
    fetched: usize,
    /// The tag's commit, and the newest job that set it.
    tag: Option<(usize, usize)>,
    /// Decisions from evidence: our commit, theirs, and the one that was later.
    decisions: Vec<(usize, usize, Later)>,
    /// Commits whose jobs reached the tag.
    reached_tag: Vec<usize>,
}

fn name(commit: usize) -> CommitId {
    id(&format!("c{commit}"))
}

impl Simulation {
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
        self.building.push(BuildingJob { id, commit, began });
    }

    fn end(&mut self, at: usize, is_unreachable: bool) {
        let BuildingJob { id, commit, began } = self.building.remove(at);
        self.reached_tag.push(commit);
        let (theirs, by) = match self.tag {
            Some((theirs, by)) if theirs != commit => (theirs, by),
            same => {
                self.tag = Some((commit, same.map_or(id, |(_, by)| by.max(id))));
                return;
            }
        };
        let names = [commit, theirs].map(name);
        let pair = |seen: &HashMap<usize, u64>| CommitPair {
            ours: names[0].as_str(),
            theirs: names[1].as_str(),
            began,
            seen: [commit, theirs].map(|commit| seen.get(&commit).copied()),
            set_by_older_job: by < id,
        };
        let (mut later, mut head) = (pair(&self.seen).by_recent_sightings(), None);
        if later.is_none() && !is_unreachable {
            self.fetch();
            head = self.heads.last().map(|head| name(*head));
            later = head.as_ref().and_then(|head| pair(&self.seen).by_head(head.as_str()));
        }
        let later =
            later.or_else(|| pair(&self.seen).by_all_evidence(&self.pushes, head.as_ref().map(CommitId::as_str)));
        self.decisions.extend(later.map(|later| (commit, theirs, later)));
        // The commit with the greater number is the descendant.
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
            Step::JobEnd(pick, is_unreachable) if !self.building.is_empty() => {
                self.end(pick % self.building.len(), is_unreachable)
            }
            _ => {}
        }
    }

    /// Runs the steps. Then the remaining webhooks arrive, and all jobs end.
    fn run(steps: &[Step]) -> Self {
        let mut simulation = Self::default();
        for step in steps {
            simulation.step(step);
        }
        while !(simulation.hooks.is_empty() && simulation.queued.is_empty() && simulation.building.is_empty()) {
            for step in [Step::Hook(0), Step::Begin(1), Step::JobEnd(1, false)] {
                simulation.step(&step);
            }
        }
        simulation
    }
}

/// Returns a strategy of steps. With `faults`, some lose webhooks or find the remote unreachable.
fn steps(faults: bool) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..5usize).prop_map(Step::Push),
        3 => (0..4usize).prop_map(Step::Hook),
        u32::from(faults) => (0..4usize).prop_map(Step::Lose),
        1 => Just(Step::Fetch),
        3 => (0..4usize).prop_map(Step::Begin),
        3 => ((0..4usize), any::<bool>()).prop_map(move |(pick, is_unreachable)| Step::JobEnd(pick, is_unreachable && faults)),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Commits come in any order, and the ref may go back to one. If every webhook arrives at last, in any order, the tag
    /// ends at the head of the ref.
    #[test]
    fn the_tag_ends_at_the_head(steps in steps(false)) {
        let simulation = Simulation::run(&steps);
        prop_assert_eq!(simulation.tag.map(|(commit, _)| commit), simulation.heads.last().copied());
    }

    /// Webhooks are lost and the remote is unreachable, but the ref never goes back to a commit. Each decision is then true.
    #[test]
    fn decisions_from_evidence_are_true(mut steps in steps(true), order in Just((0..60usize).collect::<Vec<_>>()).prop_shuffle()) {
        let mut fresh = order.into_iter();
        for step in &mut steps {
            if let Step::Push(commit) = step {
                *commit = fresh.next().unwrap();
            }
        }
        let simulation = Simulation::run(&steps);
        let place = |commit| simulation.heads.iter().position(|head| *head == commit);
        for (ours, theirs, later) in simulation.decisions {
            prop_assert_eq!(later == Later::Theirs, place(theirs) > place(ours));
        }
    }

    /// Webhooks are lost and the remote is unreachable, but each commit follows the former one. The tag then ends at the
    /// newest commit that had a job.
    #[test]
    fn the_newest_commit_that_had_a_job_has_the_tag(mut steps in steps(true)) {
        let mut fresh = 0..;
        for step in &mut steps {
            if let Step::Push(commit) = step {
                *commit = fresh.next().unwrap();
            }
        }
        let simulation = Simulation::run(&steps);
        prop_assert_eq!(simulation.tag.map(|(commit, _)| commit), simulation.reached_tag.iter().max().copied());
    }
}
