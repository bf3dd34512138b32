use std::fmt;

use std::collections::BTreeMap;

use crate::model::{NameError, RepoCase, RepoName};

/// The repositories that a deploy key opens, or that use a dockercfg. The most specific one wins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    Common,
    Owner(String),
    Repo(String, String),
}

impl Scope {
    /// Checks both names by [`RepoName`]'s rules. A repository needs its owner.
    pub fn new(owner: Option<&str>, repo: Option<&str>) -> Result<Self, NameError> {
        Ok(match (owner, repo) {
            (None, None) => Self::Common,
            (Some(owner), None) => Self::Owner(RepoName::new(owner, "any")?.owner().into()),
            (owner, Some(repo)) => {
                let name = RepoName::new(owner.unwrap_or_default(), repo)?;
                Self::Repo(name.owner().into(), name.name().into())
            }
        })
    }

    /// Returns the identity of the scope: two spellings of one owner or repository have the same key.
    pub fn key(&self, case: RepoCase) -> Self {
        match self {
            Self::Common => Self::Common,
            Self::Owner(owner) => Self::Owner(case.key(owner)),
            Self::Repo(owner, repo) => Self::Repo(case.key(owner), case.key(repo)),
        }
    }
}

/// The name of a secret, which is its path below the base of etcd or in the folder.
///
/// | | |
/// |---|---|
/// | `image-factory/github-key` | the deploy key of every repository |
/// | `image-factory/github-keys/{owner}` | the deploy key of one owner's repositories |
/// | `image-factory/github-keys/{owner}/{repo}` | the deploy key of one repository |
/// | `image-factory/engine-key` | the key for engines that are reached by ssh |
/// | `image-factory/dockercfg` | registry credentials of every repository, encrypted by `gpg -c` |
/// | `image-factory/dockercfgs/{owner}` | registry credentials of one owner's repositories |
/// | `image-factory/dockercfgs/{owner}/{repo}` | registry credentials of one repository |
/// | `ssh/authorized-keys` | public keys that may log in to the sshd beside the daemon |
/// | `syslog/host` | the server that log lines are sent to; no secret |
///
/// In a folder, and in etcd's v2 API, `{owner}` cannot be a file and a folder at once. There an owner's secret may also be
/// `image-factory/github-keys/{owner}/@owner`, because no repository can have that name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretName {
    GithubKey(Scope),
    EngineKey,
    Dockercfg(Scope),
    AuthorizedKeys,
    SyslogHost,
}

impl Scope {
    /// Returns the command that stores a key for this scope.
    pub fn put_command(&self) -> String {
        let scope = match self {
            Self::Common => String::new(),
            Self::Owner(owner) => format!("--owner {owner} "),
            Self::Repo(owner, repo) => format!("--owner {owner} --repo {repo} "),
        };
        format!("{PUT_KEY}{scope}FILE")
    }
}

/// Command that stores a deploy key, up to its scope.
pub const PUT_KEY: &str = "image-factory secrets put github-key ";
/// Command that stores the key for engines that are reached by ssh.
pub const PUT_ENGINE_KEY: &str = "image-factory secrets put engine-key FILE";
pub const GITHUB_KEYS: &str = "image-factory/github-keys";
pub const DOCKERCFGS: &str = "image-factory/dockercfgs";
/// Folders with a secret for each owner and repository.
pub const SCOPED: [&str; 2] = [GITHUB_KEYS, DOCKERCFGS];
/// Name of an owner's secret in the owner's folder.
pub const OWNER: &str = "@owner";

impl SecretName {
    /// Every name but those of owners and repositories. A name that is not here is not read from any place.
    pub const SINGLE: [Self; 5] = [
        Self::GithubKey(Scope::Common),
        Self::EngineKey,
        Self::Dockercfg(Scope::Common),
        Self::AuthorizedKeys,
        Self::SyslogHost,
    ];

    /// Returns the repositories that the secret is for, if its kind has secrets of owners and repositories.
    pub fn scope(&self) -> Option<&Scope> {
        match self {
            Self::GithubKey(scope) | Self::Dockercfg(scope) => Some(scope),
            Self::EngineKey | Self::AuthorizedKeys | Self::SyslogHost => None,
        }
    }

    /// Returns true for an owner's secret, which may also be at `{self}/@owner`.
    pub fn is_of_owner(&self) -> bool {
        matches!(self.scope(), Some(Scope::Owner(_)))
    }

    /// Returns the kind of the secret, as metrics name it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::GithubKey(_) => "github-key",
            Self::EngineKey => "engine-key",
            Self::Dockercfg(_) => "dockercfg",
            Self::AuthorizedKeys => "authorized-keys",
            Self::SyslogHost => "syslog-host",
        }
    }

    /// Reads a path without `@owner`. Returns `None` for a path that is not ours.
    ///
    /// # Errors
    /// The path is ours, and names an owner or a repository that cannot exist.
    pub fn parse(path: &str) -> Option<Result<Self, NameError>> {
        if let Some(single) = Self::SINGLE.into_iter().find(|name| name.to_string() == path) {
            return Some(Ok(single));
        }
        let below = |folder| path.strip_prefix(folder)?.strip_prefix('/');
        let (scope, kind): (_, fn(Scope) -> Self) = match below(GITHUB_KEYS) {
            Some(scope) => (scope, Self::GithubKey),
            None => (below(DOCKERCFGS)?, Self::Dockercfg),
        };
        let scope = match scope.split_once('/') {
            Some((owner, repo)) => Scope::new(Some(owner), Some(repo)),
            None => Scope::new(Some(scope), None),
        };
        Some(scope.map(kind))
    }
}

/// Returns the names of secrets of one kind that are spellings of one owner or repository, each with another one of them.
pub fn ambiguous<'a>(
    names: impl Iterator<Item = &'a SecretName>,
    case: RepoCase,
) -> BTreeMap<&'a SecretName, &'a SecretName> {
    let (mut first, mut ambiguous) = (BTreeMap::new(), BTreeMap::new());
    for name in names {
        let Some(scope) = name.scope() else { continue };
        let one = *first.entry((name.kind(), scope.key(case))).or_insert(name);
        if one != name {
            ambiguous.entry(one).or_insert(name);
            ambiguous.insert(name, one);
        }
    }
    ambiguous
}

/// Returns the reason why a secret is not used beside this other one, and the move.
pub fn why_ambiguous(other: &SecretName) -> String {
    format!("it differs only in case from {other}, and neither is used: delete one of the two")
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GithubKey(Scope::Common) => f.write_str("image-factory/github-key"),
            Self::GithubKey(Scope::Owner(owner)) => write!(f, "{GITHUB_KEYS}/{owner}"),
            Self::GithubKey(Scope::Repo(owner, repo)) => write!(f, "{GITHUB_KEYS}/{owner}/{repo}"),
            Self::EngineKey => f.write_str("image-factory/engine-key"),
            Self::Dockercfg(Scope::Common) => f.write_str("image-factory/dockercfg"),
            Self::Dockercfg(Scope::Owner(owner)) => write!(f, "{DOCKERCFGS}/{owner}"),
            Self::Dockercfg(Scope::Repo(owner, repo)) => write!(f, "{DOCKERCFGS}/{owner}/{repo}"),
            Self::AuthorizedKeys => f.write_str("ssh/authorized-keys"),
            Self::SyslogHost => f.write_str("syslog/host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_of_ours_and_of_others() {
        for path in [
            "image-factory/github-keys/acme",
            "image-factory/github-keys/acme/hello.world",
            "image-factory/engine-key",
            "image-factory/dockercfgs/acme",
            "image-factory/dockercfgs/acme/hello.world",
            "ssh/authorized-keys",
            "syslog/host",
        ] {
            assert_eq!(SecretName::parse(path).unwrap().unwrap().to_string(), path);
        }
        for path in [
            "",
            "image-factory/github-keys",
            "syslog",
            "syslog/host/x",
            "image-factory/github-keyring",
            "image-factory",
        ] {
            assert!(SecretName::parse(path).is_none(), "{path}");
        }
        for scope in ["", "..", "a/..", "a/b/c", "a/", "/b", "-o", "a b", "a/@owner"] {
            for folder in SCOPED {
                assert!(SecretName::parse(&format!("{folder}/{scope}")).unwrap().is_err(), "{folder} {scope}");
            }
        }
        assert!(Scope::new(None, Some("hello")).is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_in_its_folder(path in "(image-factory/(github-keys|dockercfgs)/)?[a-z./@-]{0,12}") {
            if let Some(Ok(name)) = SecretName::parse(&path) {
                prop_assert_eq!(name.to_string(), path.clone());
                prop_assert!(path.split('/').all(|part| !part.is_empty() && part != ".."));
            }
        }
    }
}
