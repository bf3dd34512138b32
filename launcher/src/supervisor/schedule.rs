//! Which process starts when.

use std::time::{Duration, Instant};

use crate::circus::Configuration;

/// The starts to come, as the number of a watcher and a time.
pub struct Schedule(Vec<(usize, Instant)>);

impl Schedule {
    /// Plans the first start of each process, one watcher after the other.
    pub fn new(configuration: &Configuration) -> Self {
        let mut starts = Vec::new();
        let mut at = Instant::now();
        for (index, watcher) in configuration.watchers.iter().enumerate().filter(|(_, watcher)| watcher.autostart) {
            for _ in 0..watcher.numprocesses {
                starts.push((index, at));
                at += watcher.warmup_delay;
            }
            at += configuration.warmup_delay;
        }
        Self(starts)
    }

    /// Plans one more start, after this pause.
    pub fn add(&mut self, watcher: usize, pause: Duration) {
        self.0.push((watcher, Instant::now() + pause));
    }

    /// Takes out the first start that is due, and returns the number of its watcher.
    pub fn due(&mut self) -> Option<usize> {
        let now = Instant::now();
        let first = self.0.iter().position(|(_, at)| *at <= now)?;
        Some(self.0.remove(first).0)
    }

    pub fn next(&self) -> Option<Instant> {
        self.0.iter().map(|(_, at)| *at).min()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }
}
