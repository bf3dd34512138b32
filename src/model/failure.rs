use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What kind of thing ended a job without success: who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The repository, the commit, or what they refer to (submodules, LFS files) cannot be had; also while its server is
    /// away.
    Source,
    /// The Dockerfile: it is missing, or wrong, or a step of it failed, or a base image does not exist.
    Dockerfile,
    /// The test command.
    Test,
    /// A step was killed, for its memory as far as can be told.
    OutOfMemory,
    /// A stage, or the whole job, took too long, or said nothing for too long.
    Timeout,
    /// The registry does not let us in.
    RegistryAuth,
    /// The registry is in trouble.
    Registry,
    /// The Docker Engine is gone, hangs, or is in trouble.
    Engine,
    /// The daemon that ran it stopped or broke, or its machine is in trouble.
    LostWorker,
    /// Someone, or a newer commit, cancelled it.
    Cancelled,
}

impl FailureClass {
    pub const ALL: [Self; 10] = [
        Self::Source,
        Self::Dockerfile,
        Self::Test,
        Self::OutOfMemory,
        Self::Timeout,
        Self::RegistryAuth,
        Self::Registry,
        Self::Engine,
        Self::LostWorker,
        Self::Cancelled,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Dockerfile => "dockerfile",
            Self::Test => "test",
            Self::OutOfMemory => "out-of-memory",
            Self::Timeout => "timeout",
            Self::RegistryAuth => "registry-auth",
            Self::Registry => "registry",
            Self::Engine => "engine",
            Self::LostWorker => "lost-worker",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nobody who pushed can mend it, and it may go by itself: worth another attempt.
    pub fn is_infrastructure(self) -> bool {
        matches!(self, Self::Registry | Self::Engine | Self::LostWorker)
    }

    /// What to do, in one sentence. It stands behind a message that may say so more exactly, and agrees with it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Source => "Put right what the message names, then push again or rebuild the job.",
            Self::Dockerfile => "Mend what the message names and push again.",
            Self::Test => "Mend what the tests found and push again.",
            Self::OutOfMemory => "Let the step need less memory, or give the engine's machine more.",
            Self::Timeout => "Make it quicker, or raise the limit that the message names.",
            Self::RegistryAuth => {
                "Check the image's name, then have the operator mend what the message names, or the login in the dockercfg."
            }
            Self::Registry => {
                "Nothing is known to be wrong with the commit: rebuild the job when the registry is well again."
            }
            Self::Engine => {
                "Nothing is known to be wrong with the commit: rebuild the job when the engine is well again."
            }
            Self::LostWorker => "Nothing is known to be wrong with the commit: rebuild the job.",
            Self::Cancelled => "Rebuild the job if it is wanted after all.",
        }
    }
}

impl FromStr for FailureClass {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|c| c.as_str() == text).ok_or_else(|| format!("{text:?} is no class of failures"))
    }
}
