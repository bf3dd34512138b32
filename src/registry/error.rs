use crate::outbound::causes;

/// Why a push would fail: one line, with what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    #[error("{registry} is not reached: {cause}; check its name and port, and the network from here to there")]
    Unreachable { registry: String, cause: String },
    #[error(
        "{registry}: no TLS with it: {cause}; a private authority belongs in /etc/docker/certs.d/{registry}/ca.crt"
    )]
    Tls { registry: String, cause: String },
    #[error("{registry} is no registry: {cause}; is DOCKER_REPO_BASE right?")]
    NotRegistry { registry: String, cause: String },
    #[error(
        "{registry} asks for a login, and the dockercfg has none for it: `image-factory secrets put dockercfg FILE`"
    )]
    NoLogin { registry: String },
    #[error(
        "{registry} does not accept the login of {} in the dockercfg: `image-factory secrets put dockercfg FILE` with a \
         right one",
        whom(user)
    )]
    WrongLogin { registry: String, user: String },
    #[error("{registry} does not let {} push to {repository}: give that right there", whom(user))]
    NoPush { registry: String, repository: String, user: String },
    #[error("{registry} has no repository {repository} and makes none by a push: create it there")]
    NoRepository { registry: String, repository: String },
    /// The challenge of a registry names a server that its credentials must not go to (CVE-2020-15157).
    #[error("{registry} wants its passwords sent to {host}, which is not its own: it was sent nothing")]
    ForeignRealm { registry: String, host: String },
    #[error("{registry} is in trouble: {cause}; try again later")]
    Trouble { registry: String, cause: String },
}

impl RegistryError {
    /// Why a request got no answer.
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
}

pub(super) fn whom(user: &str) -> &str {
    if user.is_empty() { "the identity token" } else { user }
}
