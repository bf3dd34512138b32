//! The order in which states are carried out (`DependencyGraph` of salt/utils/requisite.py, 3008).
//!
//! States without a requisite between them are sorted by their order, which is the place in the files if none is named.
//! A state that others wait for moves forward to the first of them.

use std::collections::BTreeMap;

use super::chunk::{Chunk, Order, Requisite, Target};
use crate::Problem;

/// The distance of `last` and of negative orders from the largest order that is named.
const LAST: f64 = 1_000_000.0;

impl Target {
    /// True if a requisite with this target means the state.
    pub fn is(&self, chunk: &Chunk) -> bool {
        let is = |name: &str| matches(&self.name, name);
        match self.module.as_str() {
            "sls" => is(&chunk.sls),
            module => (module == "id" || module == chunk.module) && (is(&chunk.id) || is(&chunk.name)),
        }
    }

    /// Says that there is no such state.
    pub fn missing(&self) -> String {
        format!("There is no state `{}: {}` to wait for. Correct the requisite.", self.module, self.name)
    }
}

fn matches(pattern: &str, name: &str) -> bool {
    if pattern.contains(['*', '?']) { crate::circus::matches(pattern, name) } else { pattern == name }
}

/// The states in their order, and for each the states that it waits for.
pub struct Plan {
    /// Indexes of the states.
    pub order: Vec<usize>,
    /// For each state its requisites: the reason, and the index of the other state.
    pub needs: Vec<Vec<(Requisite, usize)>>,
}

/// Sorts the states.
///
/// # Errors
/// A requisite names no state, or states wait for each other.
pub fn plan(chunks: &[Chunk]) -> Result<Plan, Problem> {
    let mut needs: Vec<Vec<(Requisite, usize)>> = vec![Vec::new(); chunks.len()];
    // For each state those that wait for it, in the order in which they were found.
    let mut waiting: Vec<Vec<(usize, Vec<Requisite>)>> = vec![Vec::new(); chunks.len()];
    for (index, chunk) in chunks.iter().enumerate() {
        for kind in [Requisite::Require, Requisite::Watch, Requisite::Onfail, Requisite::Onchanges] {
            // Salt makes `require` of `watch` where the module has no answer to a change.
            let effective = |requisite| match requisite {
                Requisite::Watch if chunk.module != "cmd" => Requisite::Require,
                requisite => requisite,
            };
            for (_, target) in chunk.requisites.iter().filter(|(requisite, _)| effective(*requisite) == kind) {
                let mut found = false;
                for (other, _) in chunks.iter().enumerate().filter(|(_, other)| target.is(other)) {
                    found = true;
                    if needs[index].contains(&(kind, other)) {
                        continue;
                    }
                    needs[index].push((kind, other));
                    match waiting[other].iter_mut().find(|(waiter, _)| *waiter == index) {
                        Some((_, kinds)) => kinds.push(kind),
                        None => waiting[other].push((index, vec![kind])),
                    }
                }
                if !found {
                    return Err(chunk.problem(target.missing()));
                }
            }
        }
    }
    let largest = chunks.iter().filter_map(|chunk| match chunk.order {
        Order::Number(number) if number > 0.0 => Some(number),
        _ => None,
    });
    let cap = largest.fold(1.0, |cap, number| if number > cap - 1.0 { number + 100.0 } else { cap });
    let order =
        Sorter { chunks, waiting: &waiting, cap, own: chunks.iter().map(|chunk| chunk.order).collect() }.sort(&needs);
    match order.len() == chunks.len() {
        true => Ok(Plan { order, needs }),
        false => {
            let stuck = (0..chunks.len()).find(|index| !order.contains(index)).unwrap_or_default();
            Err(chunks[stuck].problem("States wait for each other here. Take one of the requisites out."))
        }
    }
}

struct Sorter<'a> {
    chunks: &'a [Chunk],
    waiting: &'a [Vec<(usize, Vec<Requisite>)>],
    cap: f64,
    own: Vec<Order>,
}

impl Sorter<'_> {
    fn number(&self, order: Order) -> f64 {
        match order {
            Order::Number(number) => number,
            Order::First => 0.0,
            Order::Last => self.cap + LAST,
        }
    }

    /// Returns the order of a state, and its own order where others move it. Whatever was computed stays.
    fn key(&mut self, index: usize) -> (f64, f64, String) {
        let chunk = &self.chunks[index];
        let mut own = self.number(self.own[index]);
        own += chunk.name_order as f64 / 10_000.0;
        if own < 0.0 {
            own += self.cap + LAST;
        }
        self.own[index] = Order::Number(own);
        let mut order = own;
        let mut strongest: Option<Requisite> = None;
        for (waiter, kinds) in &self.waiting[index] {
            for kind in kinds {
                if strongest.is_none_or(|strongest| strongest <= *kind) {
                    strongest = Some(*kind);
                    let number = self.number(self.own[*waiter]);
                    self.own[*waiter] = Order::Number(number);
                    order = order.min(number);
                }
            }
        }
        (order, own, format!("{}{}{}", chunk.module, chunk.name, chunk.function))
    }

    /// Takes the first state that waits for nothing, again and again. Those that wait for each other are left out.
    fn sort(mut self, needs: &[Vec<(Requisite, usize)>]) -> Vec<usize> {
        let mut left: Vec<usize> = needs.iter().map(Vec::len).collect();
        let mut ready: BTreeMap<Key, usize> = BTreeMap::new();
        for (index, _) in needs.iter().enumerate().filter(|(_, needs)| needs.is_empty()) {
            ready.insert(Key(self.key(index), index), index);
        }
        let mut order = Vec::new();
        while let Some((_, index)) = ready.pop_first() {
            order.push(index);
            for (waiter, kinds) in self.waiting[index].iter() {
                left[*waiter] -= kinds.len();
                if left[*waiter] == 0 {
                    ready.insert(Key(self.key(*waiter), *waiter), *waiter);
                }
            }
        }
        order
    }
}

struct Key((f64, f64, String), usize);

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let (a, b) = (&self.0, &other.0);
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)).then_with(|| a.2.cmp(&b.2)).then(self.1.cmp(&other.1))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Key {}
