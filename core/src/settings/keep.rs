//! Types of the settings of retention.

use std::time::Duration;

use super::value::{Bytes, List, SettingValue};

/// Youngest job that JOB_KEEP may delete, because deliveries and pushes are compared with jobs for 30 days.
const LEAST_DAYS: u64 = 30;

/// Age in whole days, such as `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(pub u64);

impl SettingValue for Days {
    fn parse(text: &str) -> Result<Self, String> {
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| (1..=36_500).contains(days));
        days.map(Self).ok_or_else(|| "it must be a whole number of days, such as 90d".into())
    }
}

impl Days {
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0 * 24 * 3600)
    }
}

/// Age from which jobs are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobKeep(pub Days);

impl SettingValue for JobKeep {
    fn parse(text: &str) -> Result<Self, String> {
        match Days::parse(text)? {
            Days(days) if days < LEAST_DAYS => Err(format!("it must be {LEAST_DAYS}d or more")),
            days => Ok(Self(days)),
        }
    }
}

/// Age and number from which kept containers are removed; none sets no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ContainerKeep {
    pub age: Option<Days>,
    pub number: Option<usize>,
}

impl SettingValue for ContainerKeep {
    fn parse(text: &str) -> Result<Self, String> {
        let mut keep = Self::default();
        let List(parts) = List::parse(text)?;
        for part in parts {
            let is_second = match (Days::parse(&part), part.parse()) {
                (Ok(days), _) => keep.age.replace(days).is_some(),
                (_, Ok(number)) => keep.number.replace(number).is_some(),
                _ => return Err("it must be an age, a number, or both, such as 7d,20".into()),
            };
            if is_second {
                return Err("it must have one age and one number at most, such as 7d,20".into());
            }
        }
        Ok(keep)
    }
}

/// Age and size from which logs are removed; none sets no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogKeep {
    pub age: Option<Days>,
    /// Bytes of all logs together.
    pub size: Option<u64>,
}

impl SettingValue for LogKeep {
    fn parse(text: &str) -> Result<Self, String> {
        let mut keep = Self::default();
        let List(parts) = List::parse(text)?;
        for part in parts {
            let is_second = match (Days::parse(&part), Bytes::parse(&part)) {
                (Ok(days), _) => keep.age.replace(days).is_some(),
                (_, Ok(Bytes(size))) => keep.size.replace(size).is_some(),
                _ => return Err("it must be an age, a size, or both, such as 90d,20GiB".into()),
            };
            if is_second {
                return Err("it must have one age and one size at most, such as 90d,20GiB".into());
            }
        }
        Ok(keep)
    }
}
