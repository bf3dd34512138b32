//! The version of the API that is spoken with an engine. Each request has it in its path, so that a newer engine
//! answers in a form that is known here.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::connect::Host;
use super::errors::EngineError;
use crate::engine::advice::{self, with_cure};

/// The first API version with `POST /build?version=2` (Docker 18.09).
const BUILDKIT_API: ApiVersion = ApiVersion { major: 1, minor: 39 };
/// The newest API version whose answers are known here (Docker 28.5). Source:
/// <https://github.com/moby/moby/blob/master/api/docs/CHANGELOG.md>.
const NEWEST: ApiVersion = ApiVersion { major: 1, minor: 51 };

/// A version of the API, as in `1.41`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::engine) struct ApiVersion {
    pub major: u16,
    pub minor: u16,
}

impl FromStr for ApiVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (major, minor) = text.split_once('.').ok_or(())?;
        Ok(Self { major: major.parse().map_err(|_| ())?, minor: minor.parse().map_err(|_| ())? })
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    pub version: String,
    pub api_version: String,
    pub buildkit: bool,
}

/// The facts about an engine that decide how the daemon speaks with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) struct EngineKind {
    /// The newest version that both sides know.
    pub api: ApiVersion,
    /// True for Podman, which has the same API with a builder of its own behind it.
    pub is_podman: bool,
}

impl EngineKind {
    /// Returns a path of the API with the version before it.
    pub(super) fn path(&self, path: &str) -> String {
        format!("/v{}{path}", self.api)
    }
}

/// The used part of `GET /version`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::engine) struct EngineVersion {
    pub(super) version: String,
    pub(super) api_version: String,
    /// Absent in answers of engines older than Docker 1.13.
    #[serde(default, rename = "MinAPIVersion")]
    oldest_api_version: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    pub(super) platform: Platform,
    #[serde(default)]
    pub(super) components: Vec<Component>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Platform {
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Component {
    pub(super) name: String,
    #[serde(default)]
    pub(super) version: String,
}

impl EngineVersion {
    pub(super) fn is_podman(&self) -> bool {
        self.components.iter().any(|part| part.name.starts_with("Podman"))
    }

    pub(in crate::engine) fn info(&self) -> EngineInfo {
        let has_it = self.api_version.parse().is_ok_and(|api: ApiVersion| api >= BUILDKIT_API);
        let buildkit = has_it && self.os == "linux" && !self.is_podman();
        EngineInfo { version: self.version.clone(), api_version: self.api_version.clone(), buildkit }
    }

    /// Returns the newest API version that both sides know.
    pub(super) fn common(&self, host: &Host) -> Result<ApiVersion, EngineError> {
        let engines: ApiVersion = self.api_version.parse().map_err(|()| {
            let answer = format!("/version reports the API version {:?}", self.api_version);
            EngineError::named_engine(with_cure(&advice::NO_ENGINE_THERE, &[host, &answer]))
        })?;
        match self.oldest_api_version.parse() {
            Ok(oldest) if NEWEST < oldest => {
                let values: [&dyn fmt::Display; 4] = [host, &self.version, &oldest, &NEWEST];
                Err(EngineError::named_engine(with_cure(&advice::TOO_NEW, &values)))
            }
            _ => Ok(engines.min(NEWEST)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn common(newest: &str, oldest: &str) -> Result<String, String> {
        let version = json!({ "Version": "29.0.0", "ApiVersion": newest, "MinAPIVersion": oldest });
        let version: EngineVersion = serde_json::from_value(version).unwrap();
        version.common(&"unix:///a".parse().unwrap()).map(|api| api.to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn the_newest_version_that_both_know_is_spoken() {
        for (newest, oldest, spoken) in
            [("1.24", "1.12", "1.24"), ("1.41", "", "1.41"), ("1.51", "1.44", "1.51"), ("1.99", "1.51", "1.51")]
        {
            assert_eq!(common(newest, oldest).as_deref(), Ok(spoken));
        }
        let refused = [common("1.99", "1.52"), common("new", "")].map(Result::unwrap_err).join("\n");
        insta::assert_snapshot!(refused, @r#"
        the Docker engine at unix:///a (29.0.0) asks for API version 1.52 or newer, and this program knows 1.51 at most: install a newer Image Factory, or lower DOCKER_MIN_API_VERSION of dockerd
        no Docker engine answers at unix:///a (/version reports the API version "new"): correct DOCKER_HOST
        "#);
    }
}
