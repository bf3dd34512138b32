use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::model::{
    ApiToken, ContextPath, DockerfilePath, ImageGrants, ImageName, Percent, RepoCase, Role, TagTemplate,
};

/// A type that a setting can have.
pub(super) trait Value: Sized {
    /// # Errors
    /// The rule that it breaks, to stand behind "is not valid:".
    fn parse(text: &str) -> Result<Self, String>;
}

impl<T: Value> Value for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

impl Value for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Value for Zeroizing<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned().into())
    }
}

impl Value for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err("it must be an absolute path".into()) }
    }
}

impl Value for DockerfilePath {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(str::to_owned)
    }
}

impl Value for ContextPath {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(str::to_owned)
    }
}

impl Value for SocketAddr {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be ADDRESS:PORT, such as 127.0.0.1:8080 or [::]:8080".into())
    }
}

/// A port that can be connected to.
impl Value for NonZeroU16 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be a whole number from 1 to 65535".into())
    }
}

impl Value for Percent {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(str::to_owned)
    }
}

impl Value for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|n| *n <= 1000);
        number.ok_or_else(|| "it must be a whole number from 0 to 1000".into())
    }
}

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let millis = match unit {
            "ms" => Some(1),
            "s" => Some(1_000),
            "m" => Some(60_000),
            "h" => Some(3_600_000),
            _ => None,
        };
        let total = millis.and_then(|unit| number.parse::<u64>().ok()?.checked_mul(unit));
        total
            .filter(|total| *total <= 7 * 24 * 3_600_000)
            .map(Duration::from_millis)
            .ok_or_else(|| "it must be a whole number with ms, s, m or h, such as 60s, and at most a week".into())
    }
}

/// An address that starts with `http://` or `https://`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(pub reqwest::Url);

impl fmt::Display for HttpUrl {
    /// Without a `/` at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl Value for HttpUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let url =
            reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| "it must be an http:// or https:// address".into())
    }
}

/// A Git address with `{owner}` and `{repo}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl(pub String);

impl Value for GitUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("{repo}") {
            return Err("it must have {repo}, and mostly {owner}, in it".into());
        }
        let schemes = ["ssh://", "https://", "http://", "file:///"];
        let is_scp = text.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.starts_with(':') && !path.starts_with("//")
        });
        let is_odd = text.starts_with('-') || text.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_odd || !(is_scp || schemes.iter().any(|scheme| text.starts_with(scheme))) {
            return Err("it must be ssh://…, user@host:…, https://…, http://… or file:///…".into());
        }
        // The address is shown in logs and labels, and a token may stand in the place of the user.
        let has_secret = text.split_once("://").is_some_and(|(scheme, rest)| {
            let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
            user.is_some_and(|user| scheme.starts_with("http") || user.contains(':'))
        });
        if has_secret {
            Err("it must have no password, and with http no user, in it".into())
        } else {
            Ok(Self(text.into()))
        }
    }
}

/// Parts between commas, trimmed, none empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List(pub Vec<String>);

impl Value for List {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()))
    }
}

/// A [`List`] of globs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globs(pub Vec<String>);

impl Value for Globs {
    fn parse(text: &str) -> Result<Self, String> {
        let List(globs) = List::parse(text)?;
        for glob in &globs {
            globset::Glob::new(glob).map_err(|e| format!("{glob:?} is no glob: {}", e.kind()))?;
        }
        Ok(Self(globs))
    }
}

/// A size: a whole number, with KiB, MiB, GiB or TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl Value for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start() {
            "" | "B" => Some(0),
            "KiB" => Some(10),
            "MiB" => Some(20),
            "GiB" => Some(30),
            "TiB" => Some(40),
            _ => None,
        };
        let total = shift.and_then(|shift| number.parse::<u64>().ok()?.checked_mul(1 << shift));
        total.map(Self).ok_or_else(|| "it must be a whole number with KiB, MiB, GiB or TiB, such as 20GiB".into())
    }
}

/// Which API of etcd is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EtcdApi {
    Auto,
    V3,
    V2,
}

impl Value for EtcdApi {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "v3" => Ok(Self::V3),
            "v2" => Ok(Self::V2),
            _ => Err("it must be auto, v3 or v2".into()),
        }
    }
}

/// Which of the engine's builders is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuilderChoice {
    Auto,
    Buildkit,
    Classic,
}

impl Value for BuilderChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "buildkit" => Ok(Self::Buildkit),
            "classic" => Ok(Self::Classic),
            _ => Err("it must be auto, buildkit or classic".into()),
        }
    }
}

/// Who the API lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiAuth {
    Token,
    None,
}

impl Value for ApiAuth {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "token" => Ok(Self::Token),
            "none" => Ok(Self::None),
            _ => Err("it must be token or none".into()),
        }
    }
}

/// The rule for the times of files in a build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileTimes {
    Stable,
    History,
}

/// Whether case matters in the names of repositories. `None` is `auto`: by the host of GIT_URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepoCaseChoice(pub Option<RepoCase>);

impl Value for RepoCaseChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self(None)),
            "ignore" => Ok(Self(Some(RepoCase::Ignore))),
            "keep" => Ok(Self(Some(RepoCase::Keep))),
            _ => Err("it must be auto, ignore or keep".into()),
        }
    }
}

impl Value for FileTimes {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "stable" => Ok(Self::Stable),
            "history" => Ok(Self::History),
            _ => Err("it must be stable or history".into()),
        }
    }
}

impl Value for ImageName {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl Value for ImageGrants {
    fn parse(text: &str) -> Result<Self, String> {
        let List(pairs) = List::parse(text)?;
        Self::parse(pairs.iter().map(String::as_str))
    }
}

impl Value for Vec<TagTemplate> {
    fn parse(text: &str) -> Result<Self, String> {
        let List(tags) = List::parse(text)?;
        tags.iter().map(|tag| TagTemplate::parse(tag)).collect()
    }
}

impl Value for Vec<ApiToken> {
    fn parse(text: &str) -> Result<Self, String> {
        let List(entries) = List::parse(text)?;
        let token = |(place, entry): (usize, &String)| {
            let wrong = |why: &str| format!("entry {} {why}", place + 1);
            let (name, rest) = entry.split_once(':').ok_or_else(|| wrong("must be name:role:token"))?;
            let (role, token) = rest.split_once(':').ok_or_else(|| wrong("must be name:role:token"))?;
            let role = match role {
                "read" => Role::Read,
                "build" => Role::Build,
                "admin" => Role::Admin,
                _ => return Err(wrong("must have the role read, build or admin")),
            };
            if token.len() < 16 {
                return Err(wrong("has a token of less than 16 characters"));
            }
            Ok(ApiToken { name: name.into(), role, token: token.to_owned().into() })
        };
        entries.iter().enumerate().map(token).collect()
    }
}
