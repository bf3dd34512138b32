//! Types of the settings of notifications and of the system log.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use zeroize::Zeroizing;

use super::value::{HttpUrl, List, SettingValue};
use crate::model::Occasion;

/// Addresses, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Urls(pub Vec<HttpUrl>);

impl SettingValue for Urls {
    fn parse(text: &str) -> Result<Self, String> {
        let List(parts) = List::parse(text)?;
        parts.iter().map(|part| HttpUrl::with_login(part)).collect::<Result<_, _>>().map(Self)
    }
}

/// Mail addresses and addresses of chat rooms, comma-separated.
#[derive(Clone, Default)]
pub struct OperatorList {
    pub mails: Vec<String>,
    pub chats: Vec<HttpUrl>,
}

impl SettingValue for OperatorList {
    fn parse(text: &str) -> Result<Self, String> {
        let (List(parts), mut list) = (List::parse(text)?, Self::default());
        for part in parts {
            // An address of a room is secret, so no message shows it.
            match part.contains("://") {
                true => list.chats.push(
                    HttpUrl::with_login(&part).map_err(|_| "a chat address in it is no http:// or https:// URL")?,
                ),
                false if part.contains('@') => list.mails.push(part),
                false => return Err("each part must be a mail address, or the https:// address of a chat room".into()),
            }
        }
        Ok(list)
    }
}

/// Bytes of a key of Standard Webhooks, written `whsec_` and their base64: 24 to 64 of them
/// (<https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md>).
#[derive(Clone)]
pub struct SigningKey(pub Zeroizing<Vec<u8>>);

impl SettingValue for SigningKey {
    fn parse(text: &str) -> Result<Self, String> {
        let key = text.strip_prefix("whsec_").and_then(|key| BASE64_STANDARD.decode(key).ok()).map(Zeroizing::new);
        key.filter(|key| (24..=64).contains(&key.len()))
            .map(Self)
            .ok_or_else(|| "it must be whsec_ and the base64 of 24 to 64 bytes (`openssl rand -base64 32`)".into())
    }
}

/// Occasions, comma-separated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occasions(pub Vec<Occasion>);

impl SettingValue for Occasions {
    fn parse(text: &str) -> Result<Self, String> {
        let List(parts) = List::parse(text)?;
        let expected = |_| "it must be one or more of failure, fixed and success, comma-separated".to_owned();
        parts.iter().map(|part| part.parse().map_err(expected)).collect::<Result<_, _>>().map(Self)
    }
}

/// Address of a DogStatsD agent: `dogstatsd://host` or `dogstatsd://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatsTarget {
    pub host: String,
    pub port: u16,
}

impl SettingValue for StatsTarget {
    fn parse(text: &str) -> Result<Self, String> {
        /// Port on which Datadog's agent listens.
        const PORT: u16 = 8125;
        let expected =
            || "it must be dogstatsd://HOST or dogstatsd://HOST:PORT, the address of a DogStatsD agent".to_owned();
        let url = reqwest::Url::parse(text).ok().filter(|url| url.scheme() == "dogstatsd").ok_or_else(expected)?;
        let is_bare = url.username().is_empty() && matches!(url.path(), "" | "/") && url.query().is_none();
        let host = url.host_str().filter(|host| is_bare && !host.is_empty()).ok_or_else(expected)?;
        // An IPv6 address stands in brackets, which a lookup does not take.
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: url.port().unwrap_or(PORT) })
    }
}

/// Place of the system log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTarget {
    Off,
    /// Path of a datagram socket, `/dev/log` as a rule.
    Local(PathBuf),
    /// `host:port`
    Udp(String),
    Tcp(String),
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Local(path) => path.display().fmt(f),
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

impl SettingValue for SyslogTarget {
    fn parse(text: &str) -> Result<Self, String> {
        let address = |rest: &str| {
            // Only the form is checked here, because the name is looked up when it is used.
            let (host, port) = rest.rsplit_once(':')?;
            let is_plain = !host.is_empty() && !host.contains(['/', '@']) && port.parse::<u16>().is_ok();
            (is_plain && (!host.contains(':') || rest.parse::<SocketAddr>().is_ok())).then(|| rest.to_owned())
        };
        let parsed = match text.split_once("://") {
            None if text == "off" => Some(Self::Off),
            None if text == "local" => Some(Self::Local("/dev/log".into())),
            Some(("unix", path)) if path.starts_with('/') => Some(Self::Local(path.into())),
            Some(("udp", rest)) => address(rest).map(Self::Udp),
            Some(("tcp", rest)) => address(rest).map(Self::Tcp),
            _ => None,
        };
        parsed.ok_or_else(|| "it must be local, unix:///SOCKET, udp://HOST:PORT, tcp://HOST:PORT or off".into())
    }
}
