//! The engines that the suite runs on, and what they can do by nature.

use std::future::Future;

use image_factory::model::Builder;

/// The engines that the suite runs on. Those behind the first two are Debian's newest, which `scripts/engine-new` starts;
/// they are for `ENGINES=all make test`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Docker {
    /// The machine's own; on Debian 12 it is 20.10, with BuildKit 0.8.
    V20,
    /// Debian 13's 26.1, with BuildKit 0.13, that `scripts/engine-26` starts beside it.
    V26,
    /// Docker with the classic image store.
    New,
    /// Docker with containerd's image store.
    Containerd,
    /// Docker that asks for API version 1.44 or newer, as 29 does.
    MinApi,
    Podman,
    /// Podman of Debian's experimental.
    PodmanNext,
}

/// Something that an engine lacks by nature. What the daemon does or says there instead is asserted where a test asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// A builder that asks for the files that changed, and runs the frontend that a Dockerfile names.
    Buildkit,
    /// BuildKit from 0.11 on, which asks for the Dockerfile and for `.dockerignore` at each build.
    AsksForDockerfile,
    /// Here-documents without a `# syntax=` line.
    HereDocuments,
    /// Steps that end with their client.
    EndsSteps,
    /// Names of files in any encoding; gRPC of newer BuildKits refuses what is not UTF-8.
    AnyNames,
    /// Reports of a step's output that come to an end, however much it writes.
    Floods,
    /// Base images that are used as the engine has them, unless a build asks for newer ones.
    KeepsBases,
    /// Pushes that ask the registry once for everything, also for what it has.
    SimplePushes,
    /// A builder that makes the time of an image that of its commit.
    SourceDateEpoch,
    /// Limits of containers. Podman knows control groups of version 2 alone, and on the machines of these tests the
    /// controllers are in version 1.
    Limits,
    /// Health checks of containers, which Podman has systemd run, and no systemd runs where these tests run.
    HealthChecks,
}

impl Docker {
    pub const ALL: [Self; 7] =
        [Self::V20, Self::V26, Self::New, Self::Containerd, Self::MinApi, Self::Podman, Self::PodmanNext];

    fn lacks(self) -> &'static [Feature] {
        use Feature::*;
        match self {
            Self::V20 => &[AsksForDockerfile, HereDocuments, Floods, SourceDateEpoch],
            Self::V26 => &[],
            Self::New | Self::MinApi => &[AnyNames],
            Self::Containerd => &[AnyNames, KeepsBases, SimplePushes],
            Self::Podman | Self::PodmanNext => &[
                Buildkit,
                AsksForDockerfile,
                EndsSteps,
                KeepsBases,
                SimplePushes,
                SourceDateEpoch,
                Limits,
                HealthChecks,
            ],
        }
    }

    pub fn has(self, feature: Feature) -> bool {
        !self.lacks().contains(&feature)
    }

    /// Returns the settings of limits with which containers of tests run on it.
    pub fn limits(self) -> &'static [(&'static str, &'static str)] {
        if self.has(Feature::Limits) { &[] } else { &[("TEST_PROCESSES", "0"), ("TEST_MEMORY", "")] }
    }

    /// Returns the name by which `scripts/engine-new` knows it.
    pub fn of_script(self) -> Option<&'static str> {
        match self {
            Self::V20 | Self::V26 => None,
            Self::New => Some("docker"),
            Self::Containerd => Some("containerd"),
            Self::MinApi => Some("min-api"),
            Self::Podman => Some("podman"),
            Self::PodmanNext => Some("podman-next"),
        }
    }

    /// Returns the line of BuildKit's log when one file with this number of bytes has changed.
    pub fn sent(self, bytes: usize, dockerfile: &str) -> String {
        match self.has(Feature::AsksForDockerfile) {
            false => format!("Sent what changed: 1 files, {bytes} bytes"),
            true => format!("Sent what changed: 2 files, {} bytes", bytes + dockerfile.len()),
        }
    }

    /// Returns the builders that it has.
    pub fn builders(self) -> &'static [Builder] {
        match self.has(Feature::Buildkit) {
            true => &[Builder::Buildkit, Builder::Classic],
            false => &[Builder::Classic],
        }
    }

    /// Returns the number of the last step of a Dockerfile of two, as the engine counts with one more for labels.
    pub fn second_step(self) -> &'static str {
        if self.has(Feature::Buildkit) { "2/2" } else { "2/3" }
    }
}

/// Runs a test on an engine. It takes the test's future and not the test, so that it is compiled once for all engines.
pub fn on<F: Future<Output = ()>>(docker: Docker, test: fn(Docker) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(test(docker));
}
