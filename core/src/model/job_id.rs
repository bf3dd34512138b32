use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Id of a job: a UUIDv7, so that ids sort by the time of their creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    #[allow(clippy::new_without_default, reason = "every call makes another id")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// Returns the id as 32 hexadecimal digits without hyphens, which is read as well.
    pub fn digits(&self) -> String {
        self.0.simple().to_string()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_read_both_forms() {
        let id = JobId::new();
        assert_eq!(id.to_string().replace('-', ""), id.digits());
        assert_eq!(id.digits().parse::<JobId>().unwrap(), id);
        assert!("nope".parse::<JobId>().is_err());
    }
}
