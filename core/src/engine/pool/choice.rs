//! Chooses the engine that a job gets.

use std::cmp::Reverse;

use sha2::{Digest, Sha256};

/// An engine that a job can have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Index that [`choose`] returns.
    pub index: usize,
    pub name: &'a str,
    /// Number of slots that are taken there.
    pub used: usize,
    /// Number of slots up to which a repository keeps to it.
    pub share: usize,
}

/// Chooses by rendezvous hashing: the engine whose hash with the repository is the highest, if it has fewer jobs than
/// its share; otherwise the one with the smallest part of its share taken. A repository thus stays on the engine that has its layers and its synced
/// context, and when an engine goes, only its repositories move. `avoid` is chosen only if there is no other.
pub(super) fn choose(repo: &str, candidates: &[Candidate], avoid: Option<&str>) -> Option<usize> {
    let others = || candidates.iter().filter(|candidate| Some(candidate.name) != avoid);
    let pool: Vec<_> = if others().next().is_some() { others().collect() } else { candidates.iter().collect() };
    let rank = |candidate: &Candidate| Sha256::digest([candidate.name, "\0", repo].concat());
    let preferred = pool.iter().max_by_key(|candidate| rank(candidate))?;
    if preferred.used < preferred.share {
        return Some(preferred.index);
    }
    // Equally busy engines are ordered by their hash, so that a repository always gets the same one.
    let load = |candidate: &Candidate| candidate.used * 1000 / candidate.share.max(1);
    let least = pool.iter().min_by_key(|candidate| (load(candidate), Reverse(rank(candidate))))?;
    Some(least.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["unix:///a", "unix:///b", "tcp://c:2376"];

    /// Engines with so many slots taken, of 2 each.
    fn well(names: &[&'static str], used: [usize; 3]) -> Vec<Candidate<'static>> {
        let index = |name: &&str| NAMES.iter().position(|other| other == name).unwrap();
        names.iter().map(|name| Candidate { index: index(name), name, used: used[index(name)], share: 2 }).collect()
    }

    fn repos() -> impl Iterator<Item = String> {
        (0..300).map(|n| format!("acme/r{n}"))
    }

    #[test]
    fn repositories_spread_and_stay() {
        let mut count = [0; 3];
        for repo in repos() {
            let idle = choose(&repo, &well(&NAMES, [0; 3]), None).unwrap();
            count[idle] += 1;
            let mut turned = well(&NAMES, [1; 3]);
            turned.reverse();
            assert_eq!(choose(&repo, &turned, None), Some(idle), "the order or some work moves {repo}");
        }
        assert!(count.iter().all(|n| (70..130).contains(n)), "{count:?}");
    }

    #[test]
    fn only_the_repositories_of_a_lost_engine_move() {
        for repo in repos() {
            let before = choose(&repo, &well(&NAMES, [0; 3]), None).unwrap();
            let after = choose(&repo, &well(&NAMES[..2], [0; 3]), None).unwrap();
            assert!(before == 2 || before == after, "{repo}");
        }
    }

    #[test]
    fn jobs_beyond_the_share_go_to_the_least_busy() {
        for repo in repos() {
            let first = choose(&repo, &well(&NAMES, [0; 3]), None).unwrap();
            let mut running = [1; 3];
            running[first] = 2;
            let idle = (first + 1) % 3;
            running[idle] = 0;
            assert_eq!(choose(&repo, &well(&NAMES, running), None), Some(idle));
            // One engine is the least busy, even if all have more than their share.
            running = [9; 3];
            running[idle] = 8;
            assert_eq!(choose(&repo, &well(&NAMES, running), None), Some(idle));
        }
    }

    #[test]
    fn a_larger_engine_takes_more() {
        let large_and_small = |used: [usize; 2]| {
            let share = [6, 2];
            [0, 1].map(|index| Candidate { index, name: NAMES[index], used: used[index], share: share[index] })
        };
        // The engine that a repository keeps to has its share, and the other one has half of its own.
        for (used, expected) in [([6, 1], 1), ([3, 2], 0), ([7, 2], 1), ([6, 3], 0)] {
            for repo in repos() {
                let preferred = choose(&repo, &large_and_small([0, 0]), None).unwrap();
                if used[preferred] >= [6, 2][preferred] {
                    assert_eq!(choose(&repo, &large_and_small(used), None), Some(expected), "{repo} {used:?}");
                }
            }
        }
    }

    #[test]
    fn the_avoided_engine_is_chosen_only_if_it_is_alone() {
        for repo in repos() {
            let first = choose(&repo, &well(&NAMES, [0; 3]), None).unwrap();
            let other = choose(&repo, &well(&NAMES, [0; 3]), Some(NAMES[first])).unwrap();
            assert_ne!(first, other);
            assert_eq!(choose(&repo, &well(&NAMES[..1], [0; 3]), Some(NAMES[0])), Some(0));
        }
        assert_eq!(choose("acme/a", &[], None), None);
    }
}
