//! GitHub's rate limits (<https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api>).

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::model::Millis;

/// The primary limit is counted by the hour: a longer wait would come of a clock that is wrong.
const LONGEST: Duration = Duration::from_secs(3600);
/// What GitHub asks for when it names no time.
const UNNAMED: Duration = Duration::from_secs(60);

/// Nothing is sent until it opens.
#[derive(Default)]
pub(super) struct Gate(Mutex<Option<Instant>>);

impl Gate {
    /// How long it is still closed.
    pub fn closed(&self, now: Instant) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until?.checked_duration_since(now).filter(|rest| !rest.is_zero())
    }

    pub fn close(&self, until: Instant) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = (*latest).max(Some(until));
    }
}

/// How long GitHub wants to be left alone. `said` is the message of its answer.
pub(super) fn pause(status: StatusCode, headers: &HeaderMap, said: &str, now: Millis) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.parse::<u32>().ok();
    let is_refusal = [StatusCode::FORBIDDEN, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let is_away = status == StatusCode::SERVICE_UNAVAILABLE;
    let named = number("retry-after").filter(|_| is_refusal || is_away).map(|s| Duration::from_secs(s.into()));
    let used_up = || {
        let reset = number("x-ratelimit-reset").filter(|_| number("x-ratelimit-remaining") == Some(0))?;
        // A second more, as the reset is cut to whole ones.
        Some(Millis(i64::from(reset) * 1000).since(now) + Duration::from_secs(1))
    };
    let is_secondary =
        is_refusal && (status == StatusCode::TOO_MANY_REQUESTS || said.to_ascii_lowercase().contains("rate limit"));
    named.or_else(used_up).or(is_secondary.then_some(UNNAMED)).map(|pause| pause.min(LONGEST))
}
