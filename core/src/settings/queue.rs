//! Types of the queue's settings.

use super::value::{Globs, List, SettingValue};
use crate::model::RefGlob;

/// Globs over `owner/repo` or `owner/repo@branch` with a priority each; the first that fits a job counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PriorityList(pub Vec<(String, i64)>);

impl SettingValue for PriorityList {
    fn parse(text: &str) -> Result<Self, String> {
        let List(parts) = List::parse(text)?;
        let one = |part: &String| {
            let (glob, number) = part.rsplit_once('=').ok_or_else(|| format!("{part:?} is not GLOB=NUMBER"))?;
            let (repository, branch) = glob.split_once('@').unwrap_or((glob, "*"));
            Globs::parse(repository)?;
            RefGlob::parse(RefGlob::BRANCHES, branch)?;
            let number = number.parse::<i64>().ok().filter(|n| (-1000..=1000).contains(n));
            Ok((glob.to_owned(), number.ok_or_else(|| format!("{part:?} needs a number from -1000 to 1000"))?))
        };
        parts.iter().map(one).collect::<Result<_, String>>().map(Self)
    }
}

/// A choice between on and off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl SettingValue for Switch {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err("it must be 1 or 0".into()),
        }
    }
}
