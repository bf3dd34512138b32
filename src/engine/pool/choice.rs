//! Chooses the engine that a job gets.

use std::cmp::Reverse;

use sha2::{Digest, Sha256};

/// An engine that a job can have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    /// Index that [`choose`] returns.
    pub index: usize,
    pub name: &'a str,
    /// Number of jobs that have a lease of it.
    pub running: usize,
}

/// Chooses by rendezvous hashing: the engine whose hash with the repository is the highest, if it has fewer jobs than
/// its `share`; otherwise the least busy one. A repository thus stays on the engine that has its layers and its synced
/// context, and when an engine goes, only its repositories move. `avoid` is chosen only if there is no other.
pub(super) fn choose(repo: &str, candidates: &[Candidate], share: usize, avoid: Option<&str>) -> Option<usize> {
    let others = || candidates.iter().filter(|candidate| Some(candidate.name) != avoid);
    let pool: Vec<_> = if others().next().is_some() { others().collect() } else { candidates.iter().collect() };
    let rank = |candidate: &Candidate| Sha256::digest([candidate.name, "\0", repo].concat());
    let preferred = pool.iter().max_by_key(|candidate| rank(candidate))?;
    if preferred.running < share {
        return Some(preferred.index);
    }
    // Equally busy engines are ordered by their hash, so that a repository always gets the same one.
    let least = pool.iter().min_by_key(|candidate| (candidate.running, Reverse(rank(candidate))))?;
    Some(least.index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["unix:///a", "unix:///b", "tcp://c:2376"];

    fn well(names: &[&'static str], running: [usize; 3]) -> Vec<Candidate<'static>> {
        let index = |name: &&str| NAMES.iter().position(|other| other == name).unwrap();
        names.iter().map(|name| Candidate { index: index(name), name, running: running[index(name)] }).collect()
    }

    fn repos() -> impl Iterator<Item = String> {
        (0..300).map(|n| format!("acme/r{n}"))
    }

    #[test]
    fn repositories_spread_and_stay() {
        let mut count = [0; 3];
        for repo in repos() {
            let idle = choose(&repo, &well(&NAMES, [0; 3]), 2, None).unwrap();
            count[idle] += 1;
            let mut turned = well(&NAMES, [1; 3]);
            turned.reverse();
            assert_eq!(choose(&repo, &turned, 2, None), Some(idle), "the order or some work moves {repo}");
        }
        assert!(count.iter().all(|n| (70..130).contains(n)), "{count:?}");
    }

    #[test]
    fn only_the_repositories_of_a_lost_engine_move() {
        for repo in repos() {
            let before = choose(&repo, &well(&NAMES, [0; 3]), 2, None).unwrap();
            let after = choose(&repo, &well(&NAMES[..2], [0; 3]), 2, None).unwrap();
            assert!(before == 2 || before == after, "{repo}");
        }
    }

    #[test]
    fn jobs_beyond_the_share_go_to_the_least_busy() {
        for repo in repos() {
            let first = choose(&repo, &well(&NAMES, [0; 3]), 2, None).unwrap();
            let mut running = [1; 3];
            running[first] = 2;
            let idle = (first + 1) % 3;
            running[idle] = 0;
            assert_eq!(choose(&repo, &well(&NAMES, running), 2, None), Some(idle));
            // One engine is the least busy, even if all have more than their share.
            running = [9; 3];
            running[idle] = 8;
            assert_eq!(choose(&repo, &well(&NAMES, running), 2, None), Some(idle));
        }
    }

    #[test]
    fn the_avoided_engine_is_chosen_only_if_it_is_alone() {
        for repo in repos() {
            let first = choose(&repo, &well(&NAMES, [0; 3]), 2, None).unwrap();
            let other = choose(&repo, &well(&NAMES, [0; 3]), 2, Some(NAMES[first])).unwrap();
            assert_ne!(first, other);
            assert_eq!(choose(&repo, &well(&NAMES[..1], [0; 3]), 2, Some(NAMES[0])), Some(0));
        }
        assert_eq!(choose("acme/a", &[], 2, None), None);
    }
}
