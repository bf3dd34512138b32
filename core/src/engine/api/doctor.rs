//! Checks an engine for faults that an operator should know about.

use std::fmt;
use std::net::IpAddr;

use hyper::{Method, StatusCode};
use ipnet::Ipv4Net;
use serde::Deserialize;

use super::engine::Engine;
use super::errors::{EngineError, one_line};
use super::version::EngineVersion;

/// The engine's version, and its faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineReport {
    /// `Docker Engine` or `Podman`, and its version.
    pub name: String,
    pub api_version: String,
    pub is_podman: bool,
    pub buildkit: bool,
    /// True if containerd keeps the images, and not the engine itself.
    pub has_containerd_store: bool,
    /// One line for each fault.
    pub notes: Vec<String>,
}

/// Vulnerabilities that a Dockerfile of somebody else could exploit.
struct Vulnerability {
    names: &'static str,
    /// The first fixed version, and the fixed versions of older branches that are still maintained.
    fixed: &'static [(u32, u32, u32)],
}

/// Vulnerabilities of the BuildKit inside the engine. They go by the engine's version, because the engine does not
/// report BuildKit's. Sources: <https://github.com/moby/buildkit/security/advisories> and the engine's release notes,
/// as of November 2026.
const ENGINE: &[Vulnerability] = &[
    // 24.0.9 is missing in the list because it says of itself that it does not have these fixes.
    Vulnerability {
        names: "BuildKit before 0.12.5: CVE-2024-23650, CVE-2024-23651, CVE-2024-23652, CVE-2024-23653",
        fixed: &[(25, 0, 2)],
    },
    Vulnerability { names: "BuildKit before 0.28.1: CVE-2026-33747, CVE-2026-33748", fixed: &[(29, 3, 1)] },
    Vulnerability {
        names: "BuildKit: GHSA-r456-g3gm-cvxf, GHSA-9728-qjrv-2xh2, GHSA-mgqf-486f-49vp",
        fixed: &[(29, 8, 2)],
    },
];

/// Vulnerabilities of runc. Source: <https://github.com/opencontainers/runc/security/advisories>.
const RUNC: &[Vulnerability] = &[
    Vulnerability { names: "CVE-2024-21626", fixed: &[(1, 1, 12)] },
    Vulnerability { names: "CVE-2025-31133, CVE-2025-52565, CVE-2025-52881", fixed: &[(1, 3, 3), (1, 2, 8)] },
];

/// The first Docker with BuildKit 0.29, which leases the layers of an image that it stores in containerd's store.
const KEEPS_LAYERS: (u32, u32, u32) = (29, 4, 0);
/// Note about an older one.
const LOSES_LAYERS: &str = "with containerd's image store it may lose a layer while it stores an image, and the job then \
     runs again (https://github.com/moby/buildkit/issues/6521): Docker 29.4 has it mended";

/// Note about a Podman whose processes the daemon cannot see.
const LINGERING: &str = "a cancelled or timed-out step goes on in it until it ends by itself, and keeps its slot; \
     run the daemon on Podman's machine as Podman's user to have it killed";

impl Engine {
    /// Asks the engine for its version and its configuration, and reports the known faults of both.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn doctor(&self) -> Result<EngineReport, EngineError> {
        let version = self.version().await?;
        let setup: EngineSetup = self.json(Method::GET, "/info").await?;
        let info = version.info();
        let mut notes = vulnerabilities(&version);
        if !info.buildkit {
            notes.push("it has no BuildKit: every build sends its whole context".into());
        }
        let is_podman = version.is_podman();
        if self.outlives_clients().await && !self.shows_steps().await {
            notes.push(LINGERING.into());
        }
        let has_containerd_store = self.machine().await?.has_containerd_store;
        if has_containerd_store && info.buildkit && number(&info.version).is_some_and(|it| it < KEEPS_LAYERS) {
            notes.push(LOSES_LAYERS.into());
        }
        notes.extend(setup.notes(is_podman));
        let name = format!("{} {}", if is_podman { "Podman" } else { "Docker Engine" }, info.version);
        let (api_version, buildkit) = (info.api_version, info.buildkit);
        Ok(EngineReport { name, api_version, is_podman, buildkit, has_containerd_store, notes })
    }
}

impl Engine {
    /// Returns the addresses under which the containers of a network reach the engine's machine; `None` if there is no
    /// network of this name.
    ///
    /// # Errors
    /// The engine does not answer.
    pub async fn network(&self, name: &str) -> Result<Option<Vec<IpAddr>>, EngineError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct NetworkDetails {
            #[serde(rename = "IPAM")]
            ipam: AddressPlan,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct AddressPlan {
            #[serde(default)]
            config: Option<Vec<AddressRange>>,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct AddressRange {
            #[serde(default)]
            subnet: String,
            #[serde(default)]
            gateway: String,
        }
        // Docker 20.10 leaves out the gateway of its bridge until it is started for the second time. The gateway is the first
        // address then.
        let first = |subnet: &str| subnet.parse::<Ipv4Net>().ok()?.hosts().next().map(IpAddr::V4);
        match self.host.json::<NetworkDetails>(Method::GET, &format!("/networks/{name}")).await {
            Ok(found) => {
                let ranges = found.ipam.config.unwrap_or_default();
                let gateways =
                    ranges.iter().filter_map(|range| range.gateway.parse().ok().or_else(|| first(&range.subnet)));
                Ok(Some(gateways.collect()))
            }
            Err(error) if error.status == Some(StatusCode::NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The used part of `GET /info`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct EngineSetup {
    #[serde(default)]
    driver: String,
    #[serde(default)]
    memory_limit: bool,
    #[serde(default)]
    experimental_build: bool,
    #[serde(default)]
    warnings: Option<Vec<String>>,
}

impl EngineSetup {
    fn notes(&self, is_podman: bool) -> Vec<String> {
        let mut notes = Vec::new();
        if self.driver == "vfs" {
            notes.push(
                "its storage driver vfs copies every layer whole: use overlay2, on a file system that has it".into(),
            );
        }
        if !self.memory_limit {
            let tests = if is_podman { ", and tests need TEST_PROCESSES=0" } else { "" };
            notes.push(format!(
                "it cannot limit memory, because no memory controller is among its machine's control groups: leave \
                 TEST_MEMORY empty{tests}"
            ));
        }
        // Podman always says so.
        if self.experimental_build && !is_podman {
            notes.push("its experimental features are on".into());
        }
        // `WARNING: No swap limit support`
        let warnings = self.warnings.iter().flatten().map(|text| one_line(text));
        notes.extend(warnings.map(|text| text.trim_start_matches("WARNING: ").to_owned()));
        notes
    }
}

fn vulnerabilities(version: &EngineVersion) -> Vec<String> {
    if version.is_podman() {
        return Vec::new(); // Podman counts its versions differently
    }
    // Docker's own packages report `Docker Engine - Community`, those of a distribution report nothing.
    let is_dockers = version.platform.name.starts_with("Docker");
    let runc = version.components.iter().find(|part| part.name == "runc");
    let engine = [("Docker Engine", version.version.as_str(), ENGINE)];
    let runc = runc.map(|part| ("runc", part.version.as_str(), RUNC));
    let mut notes = Vec::new();
    for (name, version, known) in engine.into_iter().chain(runc) {
        let Some(number) = number(version) else { continue };
        let found: Vec<_> = known.iter().filter(|known| known.affects(number)).map(ToString::to_string).collect();
        if !found.is_empty() {
            let unless = if is_dockers { "" } else { ", unless your distribution has fixed them in its own way" };
            notes.push(format!("{name} {version} has known holes{unless}: {}", found.join("; ")));
        }
    }
    notes
}

impl fmt::Display for Vulnerability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.fixed[0];
        write!(f, "{} (fixed in {major}.{minor}.{patch})", self.names)
    }
}

impl Vulnerability {
    fn affects(&self, version: (u32, u32, u32)) -> bool {
        let branch = |v: (u32, u32, u32)| (v.0, v.1);
        let of_branch = self.fixed.iter().find(|fixed| branch(**fixed) == branch(version));
        version < *of_branch.unwrap_or(&self.fixed[0])
    }
}

/// Parses the leading numbers of a version such as `20.10.24+dfsg1` or `1.2.0-rc.3`.
fn number(version: &str) -> Option<(u32, u32, u32)> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut numbers = version[..end].split('.').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(engine: &str, runc: &str, platform: &str) -> Vec<String> {
        let version = json!({ "Version": engine, "ApiVersion": "1.41", "Os": "linux", "Platform": { "Name": platform },
            "Components": [{ "Name": "Engine", "Version": engine }, { "Name": "runc", "Version": runc }] });
        vulnerabilities(&serde_json::from_value(version).unwrap())
    }

    #[test]
    fn vulnerabilities_go_by_version() {
        const DOCKER: &str = "Docker Engine - Community";
        const LEAKY: &str = "CVE-2024-23651";
        const FRONTEND: &str = "CVE-2026-33747";
        const LATEST: &str = "GHSA-r456-g3gm-cvxf";
        const ALL: [&str; 5] = [LEAKY, FRONTEND, LATEST, "CVE-2024-21626", "CVE-2025-31133"];
        for (engine, runc, words) in [
            ("20.10.24", "1.1.5", &ALL[..]),
            ("24.0.9", "1.1.12", &[LEAKY, FRONTEND, LATEST, "CVE-2025-31133"]),
            ("25.0.2", "1.2.7", &[FRONTEND, LATEST, "CVE-2025-31133"]),
            ("29.3.0", "1.2.8", &[FRONTEND, LATEST]),
            ("29.3.1", "1.3.2", &[LATEST, "CVE-2025-31133"]),
            ("29.8.2", "1.3.3", &[]),
            ("29.10.0-rc.1", "1.4.0", &[]),
            ("dev", "", &[]),
        ] {
            let notes = found(engine, runc, DOCKER).join("\n");
            for word in ALL {
                assert_eq!(notes.contains(word), words.contains(&word), "{engine} {runc}: {word}: {notes}");
            }
            assert!(!notes.contains("distribution"), "{notes}");
        }
    }

    #[test]
    fn a_distribution_may_have_fixed_a_vulnerability() {
        let notes = found("20.10.24+dfsg1", "1.1.5+ds1", "");
        assert_eq!(notes.len(), 2, "{notes:#?}");
        for (note, start) in
            notes.iter().zip(["Docker Engine 20.10.24+dfsg1 has known holes, unless your ", "runc 1.1.5+ds1 has"])
        {
            assert!(note.starts_with(start) && note.contains("distribution") && note.contains("(fixed in "), "{note}");
        }
    }

    #[test]
    fn podman_has_versions_of_its_own() {
        let version = json!({ "Version": "4.3.1", "ApiVersion": "1.41", "Os": "linux",
            "Components": [{ "Name": "Podman Engine", "Version": "4.3.1" }, { "Name": "runc", "Version": "1.0.0" }] });
        assert_eq!(vulnerabilities(&serde_json::from_value(version).unwrap()), Vec::<String>::new());
    }

    #[test]
    fn the_setup_is_read() {
        let notes = |setup| serde_json::from_value::<EngineSetup>(setup).unwrap().notes(false);
        let good = json!({ "Driver": "overlay2", "MemoryLimit": true, "ExperimentalBuild": false, "Warnings": null });
        assert_eq!(notes(good), Vec::<String>::new());
        let bad = json!({ "Driver": "vfs", "MemoryLimit": false, "ExperimentalBuild": true,
            "Warnings": ["WARNING: No swap limit support", "two\nlines"] });
        let notes = notes(bad);
        assert_eq!(notes.len(), 5, "{notes:#?}");
        assert_eq!(notes[3..], ["No swap limit support", "two lines"]);
    }
}
