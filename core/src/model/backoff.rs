use std::time::Duration;

/// The pauses between attempts at something that fails: each is twice as long as the one before, up to a longest one.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest }
    }

    /// Returns the pause that comes after one failure and `earlier` others before it.
    pub fn pause(&self, earlier: u32) -> Duration {
        self.first.saturating_mul(2u32.saturating_pow(earlier)).min(self.longest)
    }

    /// Returns a random part of that pause, at least half of it, because callers that failed together must not come
    /// back together.
    pub fn random_pause(&self, earlier: u32) -> Duration {
        self.part_of_pause(earlier, fastrand::f64())
    }

    /// Returns half of the pause for a `chance` of 0, and all of it for a `chance` of 1.
    fn part_of_pause(&self, earlier: u32, chance: f64) -> Duration {
        self.pause(earlier).mul_f64(0.5 + chance / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_the_longest() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        for (earlier, seconds) in [(0, 1), (1, 2), (3, 8), (9, 300), (1000, 300), (u32::MAX, 300)] {
            assert_eq!(backoff.pause(earlier), Duration::from_secs(seconds), "{earlier}");
        }
    }

    #[test]
    fn a_random_pause_has_half_of_it_at_least() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(300));
        assert_eq!(backoff.part_of_pause(0, 0.0), Duration::from_millis(500));
        assert_eq!(backoff.part_of_pause(3, 1.0), Duration::from_secs(8));
        for earlier in 0..12 {
            let (pause, longest) = (backoff.random_pause(earlier), backoff.pause(earlier));
            assert!(pause >= longest / 2 && pause <= longest, "{earlier}: {pause:?}");
        }
    }
}
