use std::str::FromStr;

/// How a job came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A signed webhook.
    Hook,
    /// Someone asked for it.
    Api,
    /// Someone asked for an earlier job once more.
    Rebuild,
    /// A branch head that no webhook told of.
    Missed,
}

impl Origin {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hook => "hook",
            Self::Api => "api",
            Self::Rebuild => "rebuild",
            Self::Missed => "missed",
        }
    }
}

impl FromStr for Origin {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Hook, Self::Api, Self::Rebuild, Self::Missed];
        all.into_iter().find(|o| o.as_str() == text).ok_or_else(|| format!("{text:?} is no origin of a job"))
    }
}

/// Whose API a job came in by, of the programs that we replace: what is told of it looks as it did there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    Totem,
    Generator,
    ComposeCi,
    Conveyor,
}

impl Dialect {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Totem => "totem",
            Self::Generator => "generator",
            Self::ComposeCi => "compose-ci",
            Self::Conveyor => "conveyor",
        }
    }
}

impl FromStr for Dialect {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Totem, Self::Generator, Self::ComposeCi, Self::Conveyor];
        all.into_iter().find(|d| d.as_str() == text).ok_or_else(|| format!("{text:?} is no dialect"))
    }
}
