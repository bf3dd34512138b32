//! The caches of an engine that builds share.
//!
//! *Problem.* An engine has one build cache, so who may push to one repository could write into the cache mounts, and by a
//! proxy into the cached steps, of another repository or of a protected branch.
//!
//! *Decision.* BuildKit's Dockerfile frontend keeps cache mounts apart by a namespace, which follows from the repository and
//! from whether the branch is protected. It has no such namespace for steps, so a protected build runs them all.
//!
//! *Evidence.* `tests/it/sharing.rs` on Docker 20.10 and 26.1. Both begin a build without cached steps with empty cache
//! mounts.
//!
//! *Would change if* BuildKit let a request add to the keys of its steps.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::RefGlob;
use crate::words;

words! {
    /// The builds that share their cache mounts on an engine (CACHE_SCOPE).
    pub enum CacheScope {
        /// Those of one repository.
        Repository = "repository",
        /// Those of the repositories of one owner.
        Owner = "owner",
        /// All of them.
        Engine = "engine",
    }
}

/// The rules by which builds share caches on an engine. No job chooses them.
#[derive(Debug, Clone)]
pub struct Sharing {
    pub scope: CacheScope,
    /// PROTECTED: branches whose builds use nothing that a build of another ref has written.
    pub protected: Vec<RefGlob>,
    /// Build arguments that are no part of a step's key: the proxies of BUILD_PROXY and BUILD_NO_PROXY.
    pub proxies: BTreeMap<String, String>,
}

/// Build arguments that are no part of a step's key, in upper case (Dockerfile reference, "Predefined ARGs").
const PROXIES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY"];

impl Sharing {
    /// Build argument by which BuildKit's Dockerfile frontend keeps the cache mounts of builds apart.
    pub const NAMESPACE: &str = "BUILDKIT_CACHE_MOUNT_NS";

    /// Returns true for a build argument that the operator alone sets.
    pub fn is_operators(name: &str) -> bool {
        name == Self::NAMESPACE || PROXIES.contains(&name.to_ascii_uppercase().as_str())
    }

    /// Returns the build arguments of a proxy for http and https, and of the hosts that are reached without it.
    pub fn proxy_arguments(proxy: Option<&str>, without: Option<&str>) -> BTreeMap<String, String> {
        let both = |names: &[&str], value: Option<&str>| {
            let pairs = names.iter().flat_map(|name| [(*name).to_owned(), name.to_ascii_lowercase()]);
            value.map(|value| pairs.map(|name| (name, value.to_owned())).collect::<Vec<_>>()).unwrap_or_default()
        };
        both(&["HTTP_PROXY", "HTTPS_PROXY"], proxy).into_iter().chain(both(&["NO_PROXY"], without)).collect()
    }

    /// Returns true for a build of a protected branch.
    pub fn is_protected(&self, git_ref: Option<&str>) -> bool {
        git_ref.is_some_and(|name| self.protected.iter().any(|glob| glob.is_match(name)))
    }

    /// Returns the namespace of a build's cache mounts; `None` for the one that all builds of the engine share.
    /// `repository` is the job's key.
    pub fn namespace(&self, repository: &str, is_protected: bool) -> Option<String> {
        let scope = match self.scope {
            CacheScope::Repository => repository,
            CacheScope::Owner => repository.split_once('/').map_or(repository, |(owner, _)| owner),
            CacheScope::Engine if is_protected => "",
            CacheScope::Engine => return None,
        };
        let tier = if is_protected { "protected" } else { "any" };
        Some(hex::encode(&Sha256::digest(format!("{}\n{scope}\n{tier}", self.scope.as_str()))[..16]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_shared_by_those_of_one_scope_and_tier() {
        let main = RefGlob::parse(RefGlob::BRANCHES, "main").unwrap();
        let of = |scope, repository: &str, git_ref: &str| {
            let sharing = Sharing { scope, protected: vec![main.clone()], proxies: BTreeMap::new() };
            sharing.namespace(repository, sharing.is_protected(Some(git_ref)))
        };
        let (main, wip) = ("refs/heads/main", "refs/heads/wip");
        let (repository, owner, engine) = (CacheScope::Repository, CacheScope::Owner, CacheScope::Engine);
        assert_eq!(of(repository, "acme/a", wip), of(repository, "acme/a", "refs/tags/main"));
        assert_ne!(of(repository, "acme/a", wip), of(repository, "acme/a", main));
        assert_ne!(of(repository, "acme/a", wip), of(repository, "acme/b", wip));
        assert_eq!(of(owner, "acme/a", wip), of(owner, "acme/b", wip));
        assert_ne!(of(owner, "acme/a", wip), of(owner, "acme2/a", wip));
        assert_ne!(of(owner, "acme/a", wip), of(repository, "acme", wip));
        assert_eq!(of(engine, "acme/a", wip), None);
        assert!(of(engine, "acme/a", main).is_some() && of(engine, "acme/a", main) == of(engine, "other/b", main));
    }

    #[test]
    fn proxies_are_the_operators() {
        let found = Sharing::proxy_arguments(Some("http://proxy:3128/"), Some("localhost"));
        let names: Vec<_> = found.keys().map(String::as_str).collect();
        assert_eq!(names, ["HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"]);
        assert!(Sharing::proxy_arguments(None, None).is_empty());
        for name in ["HTTP_PROXY", "https_proxy", "No_Proxy", "BUILDKIT_CACHE_MOUNT_NS"] {
            assert!(Sharing::is_operators(name), "{name}");
        }
        assert!(!Sharing::is_operators("PROXY") && !Sharing::is_operators("BUILDKIT_INLINE_CACHE"));
    }
}
