use super::Advice;
use crate::words;

words! {
    /// Kind of the thing that ended a job without success, which tells who has to act.
    pub enum FailureClass {
        Source = "source",
        GitHost = "git-host",
        Config = "config",
        Dockerfile = "dockerfile",
        Test = "test",
        OutOfMemory = "out-of-memory",
        Timeout = "timeout",
        RegistryAuth = "registry-auth",
        Registry = "registry",
        Engine = "engine",
        LostWorker = "lost-worker",
        Cancelled = "cancelled",
    }
}

/// Returns one row for each failure class.
pub fn advice() -> Vec<Advice> {
    let row = |class: FailureClass| Advice {
        code: class.as_str(),
        text: "The build ended (…): …",
        cause: class.cause(),
        cure: class.advice(),
    };
    FailureClass::ALL.map(row).into()
}

impl FailureClass {
    /// Returns true if nobody who pushed can correct the failure and it may pass by itself, so that another attempt is
    /// worth its time.
    pub fn is_infrastructure(self) -> bool {
        matches!(self, Self::GitHost | Self::Registry | Self::Engine | Self::LostWorker)
    }

    /// Returns true if the failure says nothing about the commit, so that its status is an error and no failure.
    pub fn spares_commit(self) -> bool {
        self.is_infrastructure() || self.is_operators() || self == Self::RegistryAuth
    }

    /// Returns true if only an operator can act, so that nobody who pushes is told.
    pub fn is_operators(self) -> bool {
        matches!(self, Self::GitHost | Self::Config)
    }

    /// Returns what ended the job, in one sentence.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Source => {
                "The repository, the commit, or a submodule or an LFS file that it refers to does not exist or cannot \
                 be used."
            }
            Self::GitHost => {
                "The Git server is unknown to the name service, refuses connections, breaks them off, or does not answer."
            }
            Self::Config => "A key, a login, a host key, a certificate or a setting is missing, wrong or refused.",
            Self::Dockerfile => {
                "The Dockerfile is missing or wrong, or one of its steps failed, or a base image does not exist."
            }
            Self::Test => "The test command failed.",
            Self::OutOfMemory => "A step was killed, for its memory as far as that can be told.",
            Self::Timeout => "A stage, or the whole job, took too long or produced no output for too long.",
            Self::RegistryAuth => "The registry does not let the login push or read an image of this name.",
            Self::Registry => "The registry had a fault of its own, or could not be reached.",
            Self::Engine => "The Docker Engine was gone, did not answer, or had a fault of its own.",
            Self::LostWorker => "The daemon that ran the job stopped or failed, or its machine had a fault.",
            Self::Cancelled => "A user, or a newer commit, cancelled the job.",
        }
    }

    /// Returns what to do, in one sentence. The sentence follows a message that may say so more exactly, and agrees with
    /// it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::Source => "Put right what the message names, then push again or rebuild the job.",
            Self::GitHost => {
                "Nothing is known to be wrong with the commit: rebuild the job when the Git server is well again."
            }
            Self::Config => {
                "Nothing is known to be wrong with the commit: the operator mends what the message names, then rebuilds \
                 the job."
            }
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
