//! The order in which jobs are claimed.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

async fn add_with(store: &Store, repo: &str, priority: i64) -> JobId {
    match store.add_job(NewJob { priority, ..new(repo) }, None).await.unwrap() {
        Added::New(job) | Added::Duplicate(job) => job.id,
    }
}

async fn claim(store: &Store) -> Option<Job> {
    store.claim("n", LEASE).await.unwrap()
}

/// The repositories of the next claims.
async fn claims(store: &Store, count: usize) -> String {
    let mut repos = Vec::new();
    for _ in 0..count {
        repos.push(claim(store).await.map_or("-".into(), |job| job.context.repo));
    }
    repos.join(" ")
}

#[tokio::test]
async fn repositories_take_turns() {
    let (_dir, store) = open().await;
    for repo in ["a", "a", "a", "a", "b", "b", "A", "c"] {
        add_with(&store, repo, 0).await;
    }
    assert_eq!(claims(&store, 4).await, "a b c a");
    // One that comes now had its last turn longest ago, or never.
    add_with(&store, "d", 0).await;
    add_with(&store, "c", 0).await;
    assert_eq!(claims(&store, 7).await, "d b c a a A -");
}

#[tokio::test]
async fn higher_priorities_come_first_and_each_is_fair() {
    let (_dir, store) = open().await;
    for (repo, priority) in [("a", 0), ("a", 5), ("a", 5), ("b", 5), ("c", -1), ("b", 0)] {
        add_with(&store, repo, priority).await;
    }
    assert_eq!(claims(&store, 7).await, "a b a a b c -");
}

#[tokio::test]
async fn the_order_that_is_shown_is_the_order_of_the_claims() {
    let (_dir, store) = open().await;
    for (repo, priority) in [("a", 0), ("a", 0), ("b", 0), ("b", 0), ("c", 0), ("a", 5), ("d", -1), ("b", 0)] {
        add_with(&store, repo, priority).await;
    }
    claim(&store).await.unwrap();
    claim(&store).await.unwrap();
    add_with(&store, "e", 0).await;
    let capped = store.clone().with_repo_concurrency(1).queue_order().await.unwrap();
    assert_eq!((capped.running, capped.full), (2, vec!["acme/a".to_owned()]));
    let shown = store.queue_order().await.unwrap().waiting;
    let mut claimed = Vec::new();
    while let Some(job) = claim(&store).await {
        claimed.push(job.id);
    }
    assert_eq!((shown.len(), shown), (7, claimed));
}

#[tokio::test]
async fn a_held_repository_costs_no_attempt_and_holds_up_no_other() {
    let (_dir, store) = open().await;
    let (first, second) = (add_with(&store, "a", 0).await, add_with(&store, "a", 5).await);
    let other = add_with(&store, "b", 0).await;
    let is_held = |job: &Job| job.context.repo == "a";
    assert_eq!(store.claim_unless(is_held, "n", LEASE).await.unwrap().unwrap().id, other);
    assert_eq!(store.claim_unless(is_held, "n", LEASE).await.unwrap(), None);
    let held = store.held(Millis::now()).await.unwrap();
    assert_eq!(held.iter().map(|job| (job.id, job.attempt)).collect::<BTreeSet<_>>(), [(first, 0), (second, 0)].into());
    assert!(store.queue_order().await.unwrap().waiting.is_empty());

    // A release keeps the time since which a job is held, until the job is claimed.
    store.release_held().await.unwrap();
    assert_eq!(store.claim_unless(is_held, "n", LEASE).await.unwrap(), None);
    assert_eq!(store.job(first).await.unwrap().unwrap().held_since, held[0].held_since);
    store.release_held().await.unwrap();
    let claimed = claim(&store).await.unwrap();
    assert_eq!((claimed.id, claimed.attempt, claimed.held_since), (second, 1, None));

    let outcome = Outcome { class: Some(FailureClass::Config), ..outcome(Status::Failure) };
    let job = store.job(first).await.unwrap().unwrap();
    let ended = store.give_up(&job, &outcome).await.unwrap();
    assert_eq!((ended.status, ended.attempt, ended.held_since), (Status::Failure, 0, None));
    let shown = store.operators_failures(Millis(0), 5).await.unwrap();
    assert_eq!(shown.iter().map(|job| job.id).collect::<Vec<_>>(), [first]);
    store.finish(claimed.id, 1, &self::outcome(Status::Success)).await.unwrap();
    assert_eq!(store.operators_failures(Millis(0), 5).await.unwrap(), []);
}

#[tokio::test]
async fn a_repository_runs_no_more_than_it_may() {
    let (_dir, store) = open().await;
    let store = store.with_repo_concurrency(1);
    for repo in ["a", "a", "b"] {
        add_with(&store, repo, 0).await;
    }
    let first = claim(&store).await.unwrap();
    assert_eq!(claims(&store, 2).await, "b -");
    store.finish(first.id, 1, &outcome(Status::Success)).await.unwrap();
    let second = claim(&store).await.unwrap();
    assert_eq!((second.context.repo.as_str(), claim(&store).await), ("a", None));
    store.requeue(second.id, 1).await.unwrap();
    assert_eq!(claim(&store).await.unwrap().id, second.id);
}

#[tokio::test]
async fn a_job_that_rests_is_passed_over_until_then() {
    let (_dir, store) = open().await;
    let resting = add_with(&store, "a", 0).await;
    add_with(&store, "a", 0).await;
    // In a minute.
    let rest = "UPDATE jobs SET not_before = (unixepoch() + 60) * 1000 WHERE id = (SELECT MIN(id) FROM jobs)";
    sql(&store, rest).await;
    assert!(store.next_rest().await.unwrap().is_some_and(|end| end > Millis::now()));
    assert_eq!(claims(&store, 2).await, "a -");
    add_with(&store, "a", 0).await;
    sql(&store, "UPDATE jobs SET not_before = 1 WHERE not_before > 0").await;
    assert_eq!(claim(&store).await.unwrap().id, resting);
    assert_eq!((claims(&store, 2).await.as_str(), store.next_rest().await.unwrap()), ("a -", None));
}

#[tokio::test]
async fn a_cancelled_job_takes_no_turn() {
    let (_dir, store) = open().await;
    let gone = add_with(&store, "a", 0).await;
    add_with(&store, "b", 0).await;
    store.cancel(gone, "me").await.unwrap();
    assert_eq!(claims(&store, 2).await, "b -");
    add_with(&store, "b", 0).await;
    add_with(&store, "a", 0).await;
    assert_eq!(claims(&store, 2).await, "a b");
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize, i64),
    Claim,
    /// One of the running jobs.
    End(usize),
    PutBack(usize),
    /// One of the pending jobs.
    Cancel(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..6usize, 0..2i64).prop_map(|(repo, priority)| Step::Add(repo * repo / 5, priority)),
        5 => Just(Step::Claim),
        2 => (0..8usize).prop_map(Step::End),
        1 => (0..8usize).prop_map(Step::PutBack),
        1 => (0..8usize).prop_map(Step::Cancel),
    ];
    prop::collection::vec(step, 1..80)
}

/// The facts about the store's jobs that the rule needs.
#[derive(Default)]
struct Expected {
    /// Pending and running jobs with repository and priority.
    pending: BTreeMap<JobId, (String, i64)>,
    running: BTreeMap<JobId, (String, i64)>,
    /// The repositories that had a turn since this repository and priority had its own and could have had another.
    passed: BTreeMap<(String, i64), BTreeSet<String>>,
}

const MOST: usize = 2;

impl Expected {
    fn claimed(&mut self, job: Option<&Job>) {
        let has_room = |repo: &str| self.running.values().filter(|(other, _)| other == repo).count() < MOST;
        let ready: BTreeSet<_> = self.pending.values().filter(|(repo, _)| has_room(repo)).cloned().collect();
        let best = ready.iter().map(|(_, priority)| *priority).max();
        assert_eq!(job.map(|job| job.priority), best);
        let Some(job) = job else { return };
        let turn = (job.context.repo.clone(), job.priority);
        let oldest = self.pending.iter().find(|(_, of)| **of == turn).map(|(id, _)| *id);
        assert_eq!(Some(job.id), oldest);
        assert!(ready.contains(&turn), "{turn:?} has no room");
        for other in ready.into_iter().filter(|other| other.1 == turn.1 && *other != turn) {
            let first = self.passed.entry(other.clone()).or_default().insert(turn.0.clone());
            assert!(first, "{} had two turns while {} waited", turn.0, other.0);
        }
        self.passed.remove(&turn);
        self.pending.remove(&job.id);
        self.running.insert(job.id, turn);
    }
}

fn nth(jobs: &BTreeMap<JobId, (String, i64)>, n: usize) -> Option<JobId> {
    jobs.keys().nth(n % jobs.len().max(1)).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..ProptestConfig::default() })]

    /// Nobody has two turns while another one that could run waits for one: no wait is longer than a round.
    #[test]
    fn no_repository_waits_more_than_a_round(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = open().await;
            let store = store.with_repo_concurrency(MOST as u32);
            let mut expected = Expected::default();
            for step in steps {
                match step {
                    Step::Add(repo, priority) => {
                        let repo = format!("r{repo}");
                        let id = add_with(&store, &repo, priority).await;
                        expected.pending.insert(id, (repo, priority));
                    }
                    Step::Claim => expected.claimed(claim(&store).await.as_ref()),
                    Step::End(n) => if let Some(id) = nth(&expected.running, n) {
                        let attempt = store.job(id).await.unwrap().unwrap().attempt;
                        store.finish(id, attempt, &outcome(Status::Success)).await.unwrap();
                        expected.running.remove(&id);
                    }
                    Step::PutBack(n) => if let Some(id) = nth(&expected.running, n) {
                        let attempt = store.job(id).await.unwrap().unwrap().attempt;
                        store.requeue(id, attempt).await.unwrap();
                        let of = expected.running.remove(&id).unwrap();
                        expected.pending.insert(id, of);
                    }
                    Step::Cancel(n) => if let Some(id) = nth(&expected.pending, n) {
                        store.cancel(id, "me").await.unwrap();
                        expected.pending.remove(&id);
                    }
                }
            }
        });
    }
}
