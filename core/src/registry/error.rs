use std::fmt;

use crate::model::Advice;
use crate::outbound::causes;

/// The reason why a push would fail. Its text is one line, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RegistryError {
    Unreachable {
        registry: String,
        cause: String,
    },
    Tls {
        registry: String,
        cause: String,
    },
    NotRegistry {
        registry: String,
        cause: String,
    },
    NoLogin {
        registry: String,
    },
    /// The user is empty for an identity token.
    WrongLogin {
        registry: String,
        user: String,
    },
    NoPush {
        registry: String,
        repository: String,
        user: String,
    },
    NoRepository {
        registry: String,
        repository: String,
    },
    /// The challenge of a registry names a server that its credentials must not go to (CVE-2020-15157).
    ForeignRealm {
        registry: String,
        host: String,
    },
    Unavailable {
        registry: String,
        cause: String,
    },
    /// An answer that another try would get again.
    Refused {
        registry: String,
        cause: String,
    },
}

const UNREACHABLE: Advice = Advice {
    code: "registry",
    text: "… is not reached: …",
    cause: "No connection to the registry can be made, or it did not answer within 15 s.",
    cure: "check the registry's name and port, and the network from here to there",
};
const TLS: Advice = Advice {
    code: "registry",
    text: "… cannot be reached by TLS: …",
    cause: "The registry's certificate is not trusted, or the registry does not speak TLS.",
    cure: "put the certificate of a private authority into /etc/docker/certs.d/HOST:PORT/ca.crt",
};
const NOT_REGISTRY: Advice = Advice {
    code: "registry",
    text: "… is no registry: …",
    cause: "A server answers there, but not as a registry does.",
    cure: "correct DOCKER_REPO_BASE",
};
const NO_LOGIN: Advice = Advice {
    code: "config",
    text: "… asks for a login, and the dockercfg has none for it",
    cause: "The registry lets nobody push without a login.",
    cure: "store a login by `image-factory secrets put dockercfg FILE`",
};
const WRONG_LOGIN: Advice = Advice {
    code: "config",
    text: "… does not accept the login of … in the dockercfg",
    cause: "The password or token is wrong, or no longer valid.",
    cure: "store a valid login by `image-factory secrets put dockercfg FILE`",
};
const NO_PUSH: Advice = Advice {
    code: "registry-auth",
    text: "… does not let … push to …",
    cause: "The registry accepts the login, but the login may not push there.",
    cure: "give that right to the login in the registry",
};
const NO_REPOSITORY: Advice = Advice {
    code: "registry",
    text: "… has no repository … and makes none by a push",
    cause: "The registry wants a repository to exist before its first push.",
    cure: "create the repository in the registry",
};
const FOREIGN_REALM: Advice = Advice {
    code: "config",
    text: "… wants its passwords sent to …, which is another domain or has no TLS: it was sent nothing",
    cause: "The registry names a token server of another domain, which could be an attacker's, or one without TLS.",
    cure: "correct the registry's token realm, or allow a server that has TLS by TOKEN_SERVERS_ALLOWED",
};
const UNAVAILABLE: Advice = Advice {
    code: "registry",
    text: "… is overloaded or broken: …",
    cause: "The registry, or a proxy before it, has a fault of its own.",
    cure: "read the registry's log, or try again later",
};
const REFUSED: Advice = Advice {
    code: "registry",
    text: "… refuses the request: …",
    cause: "The registry, or a proxy before it, takes no pushes there.",
    cure: "see that the registry is not read-only and not a mirror, and correct DOCKER_REPO_BASE",
};

/// Returns the rows of docs/troubleshooting.md about the check of a registry.
pub fn advice() -> Vec<Advice> {
    let rows = [
        UNREACHABLE,
        TLS,
        NOT_REGISTRY,
        NO_LOGIN,
        WRONG_LOGIN,
        NO_PUSH,
        NO_REPOSITORY,
        FOREIGN_REALM,
        UNAVAILABLE,
        REFUSED,
    ];
    rows.to_vec()
}

impl RegistryError {
    /// Explains why a request got no answer.
    pub(super) fn unanswered(registry: &str, error: &reqwest::Error) -> Self {
        let registry = registry.to_owned();
        if error.is_timeout() {
            return Self::Unreachable { registry, cause: "it took too long to answer".into() };
        }
        if let Some(tls) = causes(error).find_map(|cause| cause.downcast_ref::<rustls::Error>()) {
            return Self::Tls { registry, cause: tls.to_string() };
        }
        let innermost = causes(error).last().map(ToString::to_string);
        Self::Unreachable { registry, cause: innermost.unwrap_or_default() }
    }

    /// Returns the message, and the details that stand for its `…`.
    fn parts(&self) -> (Advice, Vec<&str>) {
        match self {
            Self::Unreachable { registry, cause } => (UNREACHABLE, vec![registry, cause]),
            Self::Tls { registry, cause } => (TLS, vec![registry, cause]),
            Self::NotRegistry { registry, cause } => (NOT_REGISTRY, vec![registry, cause]),
            Self::NoLogin { registry } => (NO_LOGIN, vec![registry]),
            Self::WrongLogin { registry, user } => (WRONG_LOGIN, vec![registry, whom(user)]),
            Self::NoPush { registry, repository, user } => (NO_PUSH, vec![registry, whom(user), repository]),
            Self::NoRepository { registry, repository } => (NO_REPOSITORY, vec![registry, repository]),
            Self::ForeignRealm { registry, host } => (FOREIGN_REALM, vec![registry, host]),
            Self::Unavailable { registry, cause } => (UNAVAILABLE, vec![registry, cause]),
            Self::Refused { registry, cause } => (REFUSED, vec![registry, cause]),
        }
    }
}

impl std::error::Error for RegistryError {}

impl fmt::Display for RegistryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (message, details) = self.parts();
        let details: Vec<&dyn fmt::Display> = details.iter().map(|detail| detail as &dyn fmt::Display).collect();
        f.write_str(&message.fill(&details))?;
        let cure = message.cure;
        match self {
            Self::Tls { registry, .. } => write!(f, "; {}", cure.replace("HOST:PORT", registry)),
            _ => write!(f, "; {cure}"),
        }
    }
}

pub(super) fn whom(user: &str) -> &str {
    if user.is_empty() { "the identity token" } else { user }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FailureClass;

    #[test]
    fn an_error_says_what_happened_and_what_to_do() {
        let (registry, cause, user) = (|| "q.io:5000".to_owned(), || "because".to_owned(), || "ci".to_owned());
        let (repository, host) = (|| "acme/hello".to_owned(), || "evil.example".to_owned());
        let errors = [
            RegistryError::Unreachable { registry: registry(), cause: cause() },
            RegistryError::Tls { registry: registry(), cause: cause() },
            RegistryError::NotRegistry { registry: registry(), cause: cause() },
            RegistryError::NoLogin { registry: registry() },
            RegistryError::WrongLogin { registry: registry(), user: user() },
            RegistryError::WrongLogin { registry: registry(), user: String::new() },
            RegistryError::NoPush { registry: registry(), repository: repository(), user: user() },
            RegistryError::NoRepository { registry: registry(), repository: repository() },
            RegistryError::ForeignRealm { registry: registry(), host: host() },
            RegistryError::Unavailable { registry: registry(), cause: cause() },
            RegistryError::Refused { registry: registry(), cause: cause() },
        ];
        for error in &errors {
            let (message, details) = error.parts();
            assert_eq!(message.text.matches('…').count(), details.len(), "{error}");
            assert!(advice().contains(&message), "{error}");
            assert!(message.code.parse::<FailureClass>().is_ok(), "{error}");
        }
        insta::assert_snapshot!("registry_errors", errors.map(|error| error.to_string()).join("\n"));
    }
}
