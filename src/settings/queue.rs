//! Types of the settings of the queue.

use super::value::{Globs, List, Value};

/// Which jobs run before others: globs over `owner/repo` or `owner/repo@branch`, the first that fits counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Priorities(pub Vec<(String, i64)>);

impl Value for Priorities {
    fn parse(text: &str) -> Result<Self, String> {
        let List(parts) = List::parse(text)?;
        let one = |part: &String| {
            let (glob, number) = part.rsplit_once('=').ok_or_else(|| format!("{part:?} is not GLOB=NUMBER"))?;
            Globs::parse(glob)?;
            let number = number.parse::<i64>().ok().filter(|n| (-1000..=1000).contains(n));
            Ok((glob.to_owned(), number.ok_or_else(|| format!("{part:?} needs a number from -1000 to 1000"))?))
        };
        parts.iter().map(one).collect::<Result<_, String>>().map(Self)
    }
}

/// Whose place a newer commit of the same branch takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supersede {
    Off,
    Pending,
    Running,
}

impl Value for Supersede {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "pending" => Ok(Self::Pending),
            "running" => Ok(Self::Running),
            _ => Err("it must be off, pending or running".into()),
        }
    }
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch(pub bool);

impl Value for Switch {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "1" | "true" => Ok(Self(true)),
            "0" | "false" => Ok(Self(false)),
            _ => Err("it must be 1 or 0".into()),
        }
    }
}
