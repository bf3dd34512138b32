use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use zeroize::Zeroizing;

use crate::model::{
    AllowedHosts, ApiToken, BasicLogin, BuildNetwork, Builder, CacheScope, ContextPath, Dialects, DockerfilePath,
    EtcdApi, ImageGrants, ImageName, Latest, MailTls, Percent, Pull, RepoCase, RepoGlob, RepoName, Supersede,
    TagTemplate, words,
};

/// Type of a setting.
pub(super) trait SettingValue: Sized {
    /// Reads the text of a setting.
    ///
    /// # Errors
    /// The rule that the text breaks, as a sentence to follow "is not valid:".
    fn parse(text: &str) -> Result<Self, String>;
}

impl<T: SettingValue> SettingValue for Option<T> {
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }
}

impl SettingValue for String {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl SettingValue for Zeroizing<String> {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned().into())
    }
}

impl SettingValue for PathBuf {
    fn parse(text: &str) -> Result<Self, String> {
        let path = PathBuf::from(text);
        if path.is_absolute() { Ok(path) } else { Err("it must be an absolute path".into()) }
    }
}

impl SettingValue for DockerfilePath {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(str::to_owned)
    }
}

impl SettingValue for RepoName {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.why.to_owned())
    }
}

impl SettingValue for ContextPath {
    fn parse(text: &str) -> Result<Self, String> {
        Self::new(text).map_err(str::to_owned)
    }
}

/// A port that can be connected to.
impl SettingValue for NonZeroU16 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be a whole number from 1 to 65535".into())
    }
}

impl SettingValue for NonZeroU32 {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "it must be a whole number from 1 to 4294967295".into())
    }
}

impl SettingValue for Percent {
    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(str::to_owned)
    }
}

impl SettingValue for u32 {
    fn parse(text: &str) -> Result<Self, String> {
        let number = text.parse().ok().filter(|n| *n <= 1000);
        number.ok_or_else(|| "it must be a whole number from 0 to 1000".into())
    }
}

impl SettingValue for Duration {
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

/// Returns an address without the part before `@`, which may be a password.
pub(super) fn without_user(text: &str) -> String {
    let (scheme, rest) = text.split_once("://").map_or(("", text), |(scheme, rest)| (&text[..scheme.len() + 3], rest));
    match rest.rsplit_once('@') {
        // Without a scheme, `@` has other meanings, too.
        Some((user, rest)) if !scheme.is_empty() || user.contains(':') => format!("{scheme}…@{rest}"),
        _ => text.to_owned(),
    }
}

/// Address that starts with `http://` or `https://`. A setting of this type has no login, because it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpUrl(pub reqwest::Url);

impl fmt::Display for HttpUrl {
    /// Writes the address without a `/` at its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl HttpUrl {
    /// Reads an address that may have a login.
    pub(super) fn with_login(text: &str) -> Result<Self, String> {
        let url =
            reqwest::Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        url.map(Self).ok_or_else(|| "it must be a whole address, such as https://builds.example.com".into())
    }
}

impl SettingValue for HttpUrl {
    fn parse(text: &str) -> Result<Self, String> {
        let url = Self::with_login(text)?;
        match url.0.username().is_empty() && url.0.password().is_none() {
            true => Ok(url),
            false => Err("take the login out of it, because the address is shown".into()),
        }
    }
}

/// Address of a Git repository, with `{owner}` and `{repo}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitUrl(pub String);

impl SettingValue for GitUrl {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.contains("{repo}") {
            return Err("it needs the placeholder {repo}, and {owner} if there is more than one owner".into());
        }
        let schemes = ["ssh://", "https://", "http://", "file:///"];
        let is_scp = text.split_once(':').is_some_and(|(host, path)| {
            !host.is_empty() && !host.contains('/') && !path.starts_with(':') && !path.starts_with("//")
        });
        let is_odd = text.starts_with('-') || text.contains(|c: char| c.is_whitespace() || c.is_control());
        if is_odd || !(is_scp || schemes.iter().any(|scheme| text.starts_with(scheme))) {
            return Err("it must be ssh://…, user@host:…, https://…, http://… or file:///…".into());
        }
        // Logs and labels show the address, and a token may stand in the place of the user.
        let has_secret = text.split_once("://").is_some_and(|(scheme, rest)| {
            let user = rest.split('/').next().and_then(|authority| authority.rsplit_once('@')).map(|(user, _)| user);
            user.is_some_and(|user| scheme.starts_with("http") || user.contains(':'))
        });
        if has_secret {
            Err("take the login out of it, because the address is shown, and set GIT_TOKEN".into())
        } else {
            Ok(Self(text.into()))
        }
    }
}

/// Texts between commas, trimmed and not empty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct List(pub Vec<String>);

impl SettingValue for List {
    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Into::into).collect()))
    }
}

/// Names that a `Host` header may have, with or without a port, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts(pub Vec<String>);

impl SettingValue for Hosts {
    fn parse(text: &str) -> Result<Self, String> {
        let List(hosts) = List::parse(text)?;
        let is_odd = |host: &&String| host.contains(|c: char| "/*@?#".contains(c) || c.is_whitespace());
        match hosts.iter().find(is_odd) {
            Some(odd) => {
                Err(format!("{:?} is no host: write a name alone, such as builds.example.com", without_user(odd)))
            }
            None => Ok(Self(hosts)),
        }
    }
}

/// Origins of web pages, `http[s]://host[:port]`, as browsers send them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(pub Vec<String>);

impl SettingValue for Origins {
    fn parse(text: &str) -> Result<Self, String> {
        let List(origins) = List::parse(text)?;
        for origin in &origins {
            if origin == "*" {
                return Err("\"*\" would let every web page use the API: name the origins of the pages".into());
            }
            let sent = reqwest::Url::parse(origin).map(|url| url.origin().ascii_serialization());
            if sent.as_ref() != Ok(origin) || !(origin.starts_with("http://") || origin.starts_with("https://")) {
                return Err(format!(
                    "{:?} is no origin: write scheme, host and port alone, such as https://dashboard.example.com",
                    without_user(origin)
                ));
            }
        }
        Ok(Self(origins))
    }
}

/// IP addresses and networks, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Networks(pub Vec<IpNet>);

impl SettingValue for Networks {
    fn parse(text: &str) -> Result<Self, String> {
        let List(networks) = List::parse(text)?;
        let network = |text: &String| {
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
            network
                .map_err(|_| format!("{text:?} is neither an address nor a network, such as 10.0.0.2 or 10.0.0.0/24"))
        };
        networks.iter().map(network).collect::<Result<_, _>>().map(Self)
    }
}

/// Globs, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Globs(pub Vec<String>);

impl SettingValue for Globs {
    fn parse(text: &str) -> Result<Self, String> {
        let List(globs) = List::parse(text)?;
        // An empty list allows every repository, which a lone comma is not meant to say.
        if globs.is_empty() && !text.trim().is_empty() {
            return Err("it has no pattern in it: name owner/repository, or unset it to build all".into());
        }
        for glob in &globs {
            if glob.contains("://") {
                let shown = without_user(glob);
                return Err(format!("{shown:?} is an address: write owner/repository, such as acme/*"));
            }
            RepoGlob::new(glob).map_err(|e| e.to_string())?;
        }
        Ok(Self(globs))
    }
}

/// Size in bytes, written as a whole number with KiB, MiB, GiB or TiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl SettingValue for Bytes {
    fn parse(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.trim_start() {
            // A small number without a unit is meant to have one.
            "" if number.parse::<u64>().is_ok_and(|bytes| (1..1 << 20).contains(&bytes)) => {
                return Err(format!("it has no unit: write {number}GiB, or another of KiB, MiB, GiB and TiB"));
            }
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

words! {
    /// Authentication that the API asks for.
    pub enum ApiAuth {
        Token = "token",
        /// Everyone who reaches the port is an admin.
        None = "none",
    }
}

words! {
    /// The way in by ssh.
    pub enum SshdChoice {
        Off = "off",
        /// Open to the stored authorized keys, if their store asks for credentials.
        Auto = "auto",
    }
}

words! {
    /// Form of the log on standard error.
    pub enum LogFormat {
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// Order of a list of jobs that asks for none.
    pub enum TotemList {
        /// The newest jobs first, at most 1,000.
        Newest = "newest",
        /// Every job, the oldest first, as totem listed them.
        Oldest = "oldest",
    }
}

words! {
    /// Source of the files that jobs of compose-ci's API build.
    pub enum FileSource {
        /// The Git server of GIT_URL.
        Git = "git",
        /// Tarballs of GITHUB_API.
        Tarball = "tarball",
    }
}

words! {
    /// Rule for the times of files in a build.
    pub enum FileTimes {
        /// A changed file is always newer.
        Stable = "stable",
        /// Each file has the time of the last commit that changed it.
        History = "history",
    }
}

/// Reads settings whose values are words.
macro_rules! word_settings {
    ($($name:ty),+) => {
        $(impl SettingValue for $name {
            fn parse(text: &str) -> Result<Self, String> {
                text.parse()
            }
        })+
    };
}

/// Rule for case in the names of repositories. `None` is `auto`: the host of GIT_URL decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RepoCaseChoice(pub Option<RepoCase>);

impl SettingValue for RepoCaseChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self(None)),
            "ignore" => Ok(Self(Some(RepoCase::Ignore))),
            "keep" => Ok(Self(Some(RepoCase::Keep))),
            _ => Err("it must be auto, ignore or keep".into()),
        }
    }
}

word_settings!(
    CacheScope, ApiAuth, TotemList, FileSource, FileTimes, LogFormat, EtcdApi, Builder, Latest, MailTls, Pull,
    Supersede, SshdChoice
);

impl SettingValue for Dialects {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// A login, split at the first `:`.
impl SettingValue for BasicLogin {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some((_, password)) if (1..16).contains(&password.len()) => {
                Err("it has a password of less than 16 characters".into())
            }
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                Ok(Self { user: user.into(), password: password.to_owned().into() })
            }
            _ => Err("it must be user:password".into()),
        }
    }
}

impl SettingValue for ImageName {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl SettingValue for AllowedHosts {
    fn parse(text: &str) -> Result<Self, String> {
        let List(entries) = List::parse(text)?;
        Self::parse(entries.iter().map(String::as_str))
    }
}

impl SettingValue for BuildNetwork {
    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

impl SettingValue for ImageGrants {
    fn parse(text: &str) -> Result<Self, String> {
        let List(pairs) = List::parse(text)?;
        Self::parse(pairs.iter().map(String::as_str))
    }
}

impl SettingValue for Vec<TagTemplate> {
    fn parse(text: &str) -> Result<Self, String> {
        let List(tags) = List::parse(text)?;
        tags.iter().map(|tag| TagTemplate::parse(tag)).collect()
    }
}

impl SettingValue for Vec<ApiToken> {
    fn parse(text: &str) -> Result<Self, String> {
        let List(entries) = List::parse(text)?;
        let token = |(place, entry): (usize, &String)| {
            let wrong = |why: &str| format!("entry {} {why}", place + 1);
            let (name, rest) = entry.split_once(':').ok_or_else(|| wrong("must be name:role:token"))?;
            let (role, token) = rest.split_once(':').ok_or_else(|| wrong("must be name:role:token"))?;
            let role = role.parse().map_err(|_| wrong("must have the role read, build or admin"))?;
            if token.len() < 16 {
                return Err(wrong("has a token of less than 16 characters"));
            }
            if name == "admin" {
                return Err(wrong("has the name of the token in DATA_DIR/admin-token: take another name than admin"));
            }
            let has_other =
                |part, text| entries[..place].iter().any(|other| other.splitn(3, ':').nth(part) == Some(text));
            if has_other(0, name) {
                return Err(wrong("has the name of another entry: give each a name of its own"));
            }
            if has_other(2, token) {
                return Err(wrong("has the token of another entry: give each a token of its own"));
            }
            Ok(ApiToken { name: name.into(), role, token: token.to_owned().into() })
        };
        entries.iter().enumerate().map(token).collect()
    }
}
