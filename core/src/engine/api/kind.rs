use crate::model::FailureClass;

/// The party that caused a failure, and thereby the remedy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The Dockerfile or one of its steps, which the user has to mend.
    Build,
    /// A step that was killed for its memory, as far as is known.
    Memory,
    /// A command that a test ran in a container.
    Test,
    /// A registry that asks for a login, or that does not accept ours. Another attempt would not help.
    Login,
    /// A registry that does not let our login push or read this name. Another attempt would not help.
    Auth,
    /// A registry's login that was not sent, because others could get it.
    Exposed,
    /// A registry whose answer is final. Another attempt would get the same answer.
    Refused,
    /// A registry, the way to it, or a setting, that an operator has to change. Another attempt would not help.
    Setup,
    /// A registry that refuses to move a tag. The tag may have our image already.
    Immutable,
    /// A registry that is in trouble. Another push may help.
    Registry,
    /// The way to the engine: a key, a host key or a right that the operator has to mend.
    Access,
    /// The engine, which is away or in trouble.
    Engine,
    /// This machine, which could not read the files to be built.
    Tree,
    /// The commit, which has an object that is not what its tree says. The committer has to mend it, and another
    /// attempt would not help.
    Commit,
}

impl ErrorKind {
    /// Returns the failure class of a job that ends with this kind of error.
    pub fn class(self) -> FailureClass {
        match self {
            Self::Build => FailureClass::Dockerfile,
            Self::Test => FailureClass::Test,
            Self::Memory => FailureClass::OutOfMemory,
            Self::Login | Self::Exposed | Self::Setup | Self::Access => FailureClass::Config,
            Self::Auth | Self::Refused | Self::Immutable => FailureClass::RegistryAuth,
            Self::Registry => FailureClass::Registry,
            Self::Engine => FailureClass::Engine,
            Self::Tree => FailureClass::LostWorker,
            Self::Commit => FailureClass::Source,
        }
    }
}
