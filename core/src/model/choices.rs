//! Choices that a setting makes for a module, which both of them know by these types.

use crate::words;

words! {
    /// Older jobs of a branch that a newer commit cancels.
    #[derive(Default)]
    pub enum Supersede {
        #[default]
        Off = "off",
        /// Jobs that wait.
        Pending = "pending",
        /// Jobs that wait, and jobs that run.
        Running = "running",
    }
}

words! {
    /// Builder of a Docker Engine.
    pub enum Builder {
        /// BuildKit if the engine has it and accepts sessions, else the classic builder.
        Auto = "auto",
        Buildkit = "buildkit",
        Classic = "classic",
    }
}

words! {
    /// Base images that an engine looks up in their registry.
    #[derive(Default)]
    pub enum Pull {
        /// Those that it does not have.
        #[default]
        Missing = "missing",
        /// All of them, so that one that has moved is used.
        Always = "always",
    }
}

words! {
    /// Jobs of Conveyor's API that move the tag `latest`.
    #[derive(Default)]
    pub enum Latest {
        /// Those of the default branch.
        #[default]
        Default = "default",
        /// All of them, as Conveyor did.
        Always = "always",
    }
}

words! {
    /// Encryption of mail on its way to the mail server.
    pub enum MailTls {
        /// TLS from the first byte.
        Implicit = "tls",
        /// TLS after STARTTLS. Nothing is sent without it.
        StartTls = "starttls",
        None = "none",
    }
}

words! {
    /// API of etcd.
    pub enum EtcdApi {
        /// The v3 API if it has the secrets, else the v2 API.
        Auto = "auto",
        V3 = "v3",
        V2 = "v2",
    }
}
