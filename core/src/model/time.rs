use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::{OffsetDateTime, format_description::well_known::Rfc3339, macros::format_description};

/// A point in time, in milliseconds since the Unix epoch. It is serialized as RFC 3339 with milliseconds and `Z`, as
/// `Date.prototype.toISOString` writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub i64);

impl Millis {
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.as_millis() as i64)
    }

    /// Returns the time from `earlier` to this point; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

impl std::ops::Add<Duration> for Millis {
    type Output = Self;
    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_millis() as i64))
    }
}

impl std::ops::Sub<Duration> for Millis {
    type Output = Self;
    fn sub(self, d: Duration) -> Self {
        Self(self.0.saturating_sub(d.as_millis() as i64))
    }
}

impl std::fmt::Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let format = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
        let at =
            OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000).map_err(|_| std::fmt::Error)?;
        f.write_str(&at.format(&format).map_err(|_| std::fmt::Error)?)
    }
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl std::str::FromStr for Millis {
    type Err = time::error::Parse;
    /// Reads RFC 3339, and drops fractions of a millisecond.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let nanos = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp_nanos();
        Ok(Self(nanos.div_euclid(1_000_000) as i64))
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for at in [0, 1_795_215_567_930, -1] {
            assert_eq!(Millis(at).to_string().parse::<Millis>().unwrap(), Millis(at));
        }
        assert_eq!("2026-11-20T23:59:27.9309+01:00".parse::<Millis>().unwrap(), Millis(1_795_215_567_930));
        assert!("yesterday".parse::<Millis>().is_err());
    }

    #[test]
    fn is_written_like_javascript_does() {
        assert_eq!(Millis(1_795_215_567_930).to_string(), "2026-11-20T22:59:27.930Z");
        assert_eq!(Millis(0).to_string(), "1970-01-01T00:00:00.000Z");
    }
}
