//! Which pushes take whose place, whatever the order in which they are told.

use proptest::prelude::*;

use super::*;
use crate::model::{CommitId, Origin, Supersede};

const BRANCH: &str = "refs/heads/develop";

/// A full commit id of one letter: `0` is what a new branch comes from.
fn id(letter: char) -> String {
    letter.to_string().repeat(40)
}

fn commit(letter: char) -> CommitId {
    id(letter).parse().unwrap()
}

fn push(git_ref: &str, before: Option<char>, after: char) -> NewJob {
    let mut new = new("hello");
    new.context.commit = id(after);
    NewJob { origin: Origin::Hook, git_ref: Some(git_ref.into()), before: before.map(commit), ..new }
}

async fn add_by(store: &Store, new: NewJob, running: bool) -> (Job, Vec<Job>) {
    let rule = if running { Supersede::Running } else { Supersede::Pending };
    match store.add_superseding(new, None, rule).await.unwrap() {
        (Added::New(job), superseded) => (job, superseded),
        (Added::Duplicate(job), _) => panic!("{} is a duplicate", job.id),
    }
}

/// Adds these pushes, `AB` from A to B, in this order. Returns `B>C` for each job that C superseded.
async fn told(pushes: &str) -> String {
    let (_dir, store) = open().await;
    for push_of in pushes.split(' ') {
        let mut commits = push_of.chars();
        let (before, after) = (commits.next().unwrap(), commits.next().unwrap());
        add_by(&store, push(BRANCH, Some(before), after), false).await;
    }
    let jobs = store.jobs(99, None).await.unwrap();
    let letter = |commit: &str| commit.chars().next().unwrap();
    let mut told: Vec<_> = jobs
        .iter()
        .filter_map(|job| {
            Some(format!("{}>{}", letter(&job.context.commit), letter(job.superseded_by.as_ref()?.as_str())))
        })
        .collect();
    told.sort();
    told.join(" ")
}

#[tokio::test]
async fn the_chain_of_pushes_tells_what_is_newer() {
    for (pushes, expected) in [
        ("ab bc", "b>c"),
        ("ab bc cd", "b>c c>d"),
        ("bc ab", "b>c"),
        ("cd bc ab", "b>d c>d"),
        // A hole in it is filled later.
        ("ab cd", ""),
        ("ab cd bc", "b>d c>d"),
        ("0a ab", "a>b"),
        // Back to where it was, in any order: who is newer cannot be told.
        ("ab ba", ""),
        ("ba ab", ""),
        ("ab bc ca", "b>c"),
        ("ab ba ac", ""),
        ("ac ab ba", ""),
        ("ab cb bd", ""),
        ("0a 0b bc", "b>c"),
        // Twice the same push is one.
        ("ab ab bc", "b>c b>c"),
        ("aa ab", ""),
    ] {
        assert_eq!(told(pushes).await, expected, "{pushes}");
    }
}

#[tokio::test]
async fn a_superseded_job_says_by_what_and_tells_it() {
    let (_dir, store) = open().await;
    let (old, _) = add_by(&store, push(BRANCH, Some('a'), 'b'), false).await;
    let (new, superseded) = add_by(&store, push(BRANCH, Some('b'), 'c'), false).await;
    let ended = store.job(old.id).await.unwrap().unwrap();
    assert_eq!(superseded, std::slice::from_ref(&ended));
    assert_eq!((ended.status, ended.class), (Status::Cancelled, Some(crate::model::FailureClass::Cancelled)));
    assert_eq!(ended.superseded_by, Some(commit('c')));
    assert_eq!(ended.cause, Some(format!("superseded by {}", id('c'))));
    assert_eq!(store.due_notifications(9).await.unwrap()[0].body, "cancelled");
    assert_eq!((new.status, new.superseded_by), (Status::Pending, None));
    // The chain goes on over jobs that have ended; what comes late ends itself.
    let (late, superseded) = add_by(&store, push(BRANCH, Some('0'), 'a'), false).await;
    assert_eq!((late.status, late.superseded_by, superseded), (Status::Cancelled, Some(commit('c')), vec![]));
    assert_eq!(store.claim("n", LEASE).await.unwrap().unwrap().id, new.id);
    assert_eq!(store.claim("n", LEASE).await.unwrap(), None);
}

#[tokio::test]
async fn a_running_job_is_stopped_only_where_that_is_the_rule() {
    for rule in [false, true] {
        let (_dir, store) = open().await;
        add_by(&store, push(BRANCH, Some('a'), 'b'), rule).await;
        let old = store.claim("n", LEASE).await.unwrap().unwrap();
        let (_, superseded) = add_by(&store, push(BRANCH, Some('b'), 'c'), rule).await;
        assert_eq!(superseded.len(), usize::from(rule));
        assert_eq!(store.renew(old.id, 1, LEASE).await.unwrap(), rule);
        // The stop may have come too late.
        let done = store.finish(old.id, 1, &outcome(Status::Success)).await.unwrap();
        assert_eq!((done.status, done.superseded_by), (Status::Success, None));
    }
    for put_back in [false, true] {
        let (_dir, store) = open().await;
        add_by(&store, push(BRANCH, Some('a'), 'b'), true).await;
        let old = store.claim("n", LEASE).await.unwrap().unwrap();
        add_by(&store, push(BRANCH, Some('b'), 'c'), true).await;
        let ended = match put_back {
            true => store.requeue(old.id, 1).await.unwrap(),
            false => store.finish(old.id, 1, &outcome(Status::Cancelled)).await.unwrap(),
        };
        assert_eq!((ended.status, ended.superseded_by), (Status::Cancelled, Some(commit('c'))));
        assert_eq!(ended.cause, Some(format!("superseded by {}", id('c'))));
    }
}

#[tokio::test]
async fn tags_other_branches_api_builds_and_rebuilds_are_left_alone() {
    let (_dir, store) = open().await;
    let branch = |before, after| push(BRANCH, Some(before), after);
    for new in [
        push("refs/tags/v1", Some('b'), 'c'),
        push("refs/heads/other", Some('b'), 'c'),
        NewJob { origin: Origin::Api, ..branch('b', 'c') },
        NewJob { origin: Origin::Rebuild, ..branch('b', 'c') },
        push(BRANCH, None, 'd'),
    ] {
        add_by(&store, new, true).await;
    }
    let mut elsewhere = branch('b', 'c');
    elsewhere.context.repo = "other".into();
    add_by(&store, elsewhere, true).await;
    let (job, superseded) = add_by(&store, branch('a', 'b'), true).await;
    assert_eq!((job.status, superseded), (Status::Pending, vec![]));
    // A missed head has a place in the chain, as far as it is known.
    let (_, superseded) = add_by(&store, NewJob { origin: Origin::Missed, ..branch('b', 'e') }, true).await;
    assert_eq!(superseded.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 30, ..ProptestConfig::default() })]

    /// A branch's history without a return, told in any order and not all of it: nothing is superseded by what is older,
    /// and when all was told only the last is left.
    #[test]
    fn nothing_newer_is_superseded(
        order in Just((0..8usize).collect::<Vec<_>>()).prop_shuffle(),
        lost in prop::collection::vec(prop::bool::weighted(0.2), 8),
        started in 0..8usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_dir, store) = open().await;
            let letter = |index: usize| char::from(b"0abcdef12"[index]);
            for (count, index) in order.iter().copied().filter(|&index| !lost[index]).enumerate() {
                add_by(&store, push(BRANCH, Some(letter(index)), letter(index + 1)), false).await;
                if count == started {
                    store.claim("n", LEASE).await.unwrap();
                }
            }
            let place = |commit: &str| (0..9).find(|&index| commit == id(letter(index))).unwrap();
            let jobs = store.jobs(9, None).await.unwrap();
            for job in &jobs {
                if let Some(newer) = &job.superseded_by {
                    assert!(place(newer.as_str()) > place(&job.context.commit));
                }
            }
            let left = jobs.iter().filter(|job| job.status == Status::Pending).map(|job| place(&job.context.commit));
            if !lost.contains(&true) {
                assert!(left.max().is_none_or(|last| last == 8));
                assert!(jobs.iter().filter(|job| job.status == Status::Pending).count() <= 1);
            }
        });
    }
}
