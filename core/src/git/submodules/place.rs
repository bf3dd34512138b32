//! The place from which a submodule is fetched, and the rights for it.
//!
//! Whoever can push to a repository chooses its submodules, so a submodule gets no more rights than the repository
//! itself: a deploy key and a password go to GIT_URL's host alone, and the key is that of a submodule of the same
//! owner, or else the repository's own. Another host is reached by https, without credentials, and must not be on this
//! machine or its link. The same holds for every URL that a repository on another host names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::url::{has_parent_part, host_name, is_relative, resolve, split, user_info};
use crate::git::transport::remote::{Protocol, Remote};
use crate::git::{Fault, GitError, RepoSource};
use crate::model::RepoName;
use crate::outbound::is_local_or_forbidden;
use crate::secrets::{DeployKey, Secrets, SecretsError};

/// The job's own repository.
pub(in crate::git) struct Superproject<'a> {
    source: &'a RepoSource,
    remote: Remote,
    secrets: &'a Secrets,
}

/// A submodule's URL, and the key for it.
#[derive(Debug)]
pub(in crate::git) struct SubmoduleSource {
    pub source: RepoSource,
    pub remote: Remote,
    /// True if the key is the superproject's although the submodule has another owner.
    pub borrows_key: bool,
}

/// The reason why a submodule's URL is not used.
#[derive(Debug)]
struct UrlError {
    why: String,
    fault: Fault,
}

impl<T: Into<String>> From<T> for UrlError {
    fn from(why: T) -> Self {
        Self { why: why.into(), fault: Fault::Request }
    }
}

impl SubmoduleSource {
    /// Adds to an error about a refused key whose key it was.
    pub fn explain(&self, error: GitError) -> GitError {
        // Whoever wrote the URL of another host answers for what that host asks for.
        let error = match error.fault {
            Fault::Config if self.remote.is_foreign => GitError { fault: Fault::Request, ..error },
            _ => error,
        };
        match self.borrows_key && error.fault == Fault::Key {
            true => GitError {
                message: format!(
                    "{} (a submodule of another owner is fetched with its superproject's deploy key)",
                    error.message
                ),
                ..error
            },
            false => error,
        }
    }
}

impl<'a> Superproject<'a> {
    pub fn new(source: &'a RepoSource, remote: Remote, secrets: &'a Secrets) -> Self {
        Self { source, remote, secrets }
    }

    /// Checks a submodule's URL and chooses the key. `url` is that of `.gitmodules`, `base` that of the repository
    /// which contains the file. If that repository is foreign, so is everything that it names.
    pub async fn locate(&self, base: &str, is_foreign: bool, url: &str) -> Result<SubmoduleSource, GitError> {
        let mut place = self
            .check_url(base, is_foreign, url)
            .map_err(|UrlError { why, fault }| GitError { fault, ..GitError::refused(format!("its URL {why}")) })?;
        if place.remote.is_foreign {
            place.remote.pinned = self.pin(&place.remote).await?;
        }
        Ok(place)
    }

    /// Makes all checks that need no name service.
    fn check_url(&self, base: &str, base_is_foreign: bool, url: &str) -> Result<SubmoduleSource, UrlError> {
        if url.starts_with('-') {
            return Err("starts with '-'".into());
        }
        let is_relative = is_relative(url);
        let mut url = if is_relative { resolve(base, url)? } else { url.to_owned() };
        let mut remote = Remote::parse(&url).map_err(|why| format!("cannot be used: {why}"))?;
        if has_parent_part(&url) {
            return Err("has .. in its path".into());
        }
        let is_foreign = base_is_foreign || host_name(&remote.host) != host_name(&self.remote.host);
        if !is_relative {
            if user_info(&url).is_some_and(|user_info| user_info.contains(':')) {
                return Err("has a password in it: take it out, everybody who may read the repository sees it".into());
            }
            if remote.protocol != Protocol::Ssh {
                // A user without a password is of no use.
                url = if is_foreign { remote.url } else { self.with_login(&remote) };
                remote = Remote::parse(&url).map_err(|why| format!("cannot be used: {why}"))?;
            }
        }
        match remote.protocol {
            Protocol::Https => {}
            Protocol::Ssh if base_is_foreign => {
                return Err("is a ssh URL in a repository of another host, which is given no key: use https".into());
            }
            Protocol::Ssh if is_foreign => {
                return Err(
                    format!("is on {}, and deploy keys go to GIT_URL's host alone: use https", remote.host).into()
                );
            }
            Protocol::Ssh => {}
            Protocol::Http if self.remote.protocol == Protocol::Http && !is_foreign => {}
            Protocol::Http => return Err("is a http URL: use https or ssh".into()),
            Protocol::File if is_relative && self.is_below_root(&url) => {}
            Protocol::File => return Err("is a file URL, which only the operator may use: use https or ssh".into()),
        }
        let (repo, key) = self.name_and_key(&url);
        let key = match remote.protocol {
            Protocol::Ssh => {
                key.map_err(|error| UrlError { why: format!("needs a key: {error}"), fault: Fault::Config })?
            }
            _ => None,
        };
        let ours = self.remote.protocol;
        if remote.protocol == Protocol::Ssh && key.is_none() && matches!(ours, Protocol::Https | Protocol::Http) {
            // An operator who has a token instead of keys expects https, and a repository that ssh serves is served by
            // https too.
            let path = split(&url).map_or("", |(_, path)| path);
            remote.protocol = ours;
            remote.url = format!("{}://{}/{}", ours.as_str(), self.remote.host, path.trim_start_matches('/'));
            remote.host.clone_from(&self.remote.host);
            url = self.with_login(&remote);
            remote = Remote::parse(&url).map_err(|why| format!("cannot be used: {why}"))?;
        }
        let borrows_key = key.is_some() && !self.secrets.repo_case.is_same(repo.owner(), self.source.repo.owner());
        remote.is_foreign = is_foreign;
        Ok(SubmoduleSource { source: RepoSource { repo, url, key }, remote, borrows_key })
    }

    /// Returns the remote's URL, with GIT_URL's user and password if it is on that server.
    fn with_login(&self, remote: &Remote) -> String {
        let ours = &self.remote;
        let is_same = remote.protocol == ours.protocol && remote.host.eq_ignore_ascii_case(&ours.host);
        match (user_info(&self.source.url).filter(|_| is_same), remote.url.split_once("://")) {
            (Some(login), Some((scheme, rest))) => format!("{scheme}://{login}@{rest}"),
            _ => remote.url.clone(),
        }
    }

    /// Returns the path of all repositories: the part of GIT_URL before `{owner}/{repo}`. Returns `None` for another
    /// form of GIT_URL.
    fn repos_root(&self) -> Option<&str> {
        let (_, path) = split(&self.source.url)?;
        let repo = self.source.repo.to_string();
        let path = path.trim_matches('/');
        path.strip_suffix(".git")
            .unwrap_or(path)
            .strip_suffix(&repo)
            .filter(|home| home.is_empty() || home.ends_with('/'))
    }

    /// Returns the name in the URL, as far as it is one, and the key for the submodule. The error is that of a stored
    /// key that cannot be used.
    fn name_and_key(&self, url: &str) -> (RepoName, Result<Option<Arc<DeployKey>>, SecretsError>) {
        let ours = &self.source.repo;
        let path = split(url).map_or("", |(_, path)| path).trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let named = self.repos_root().and_then(|home| RepoName::parse(path.strip_prefix(home)?).ok());
        let key = match &named {
            Some(name) if self.secrets.repo_case.is_same(name.owner(), ours.owner()) => self.secrets.deploy_key(name),
            _ => Ok(None),
        };
        let key = match (key, &self.source.key) {
            (Ok(None), Some(ours)) => Ok(Some(ours.clone())),
            // The superproject is fetched without a key here, so nobody has checked that its key can be used.
            (Ok(None), None) => self.secrets.deploy_key(ours),
            (key, _) => key,
        };
        let shown = || {
            let mut parts = path.rsplit('/');
            let (name, owner) = (parts.next()?, parts.next()?);
            RepoName::new(owner, name).ok()
        };
        (named.or_else(shown).unwrap_or_else(|| ours.clone()), key)
    }

    /// Returns true if a file URL is below the folder of the operator's repositories.
    fn is_below_root(&self, url: &str) -> bool {
        let Some((root, path)) = split(&self.source.url) else { return false };
        let path = path.trim_end_matches('/');
        let home = self.repos_root().or_else(|| path.rfind('/').map(|slash| &path[..=slash])).unwrap_or_default();
        self.remote.protocol == Protocol::File && url.starts_with(&format!("{root}{home}"))
    }

    /// Looks the host up and refuses a local address. Returns the addresses that Git may connect to (in the form of
    /// `http.curloptResolve`), so that a second look-up cannot lead elsewhere.
    async fn pin(&self, remote: &Remote) -> Result<Option<String>, GitError> {
        if addresses(&self.remote.host)
            .await
            .is_ok_and(|ours| ours.iter().any(|address| is_local_or_forbidden(address.ip())))
        {
            return Ok(None);
        }
        let found = addresses(&remote.host).await.map_err(|error| GitError {
            exit_code: 128,
            message: format!("the host {} is unknown ({error}): check the URL and the name service", remote.host),
            fault: Fault::Server,
        })?;
        if let Some(address) = found.iter().find(|address| is_local_or_forbidden(address.ip())) {
            let message =
                format!("its URL leads to {}, which is this machine or its own network: refused", address.ip());
            return Err(GitError::refused(message));
        }
        let (name, port) = (host_name(&remote.host), found.first().map_or(443, SocketAddr::port));
        let shown = |address: &SocketAddr| match address.ip() {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => format!("[{v6}]"),
        };
        let found: Vec<_> = found.iter().map(shown).collect();
        Ok(Some(format!("{name}:{port}:{}", found.join(","))))
    }
}

async fn addresses(host: &str) -> std::io::Result<Vec<SocketAddr>> {
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(443);
    Ok(tokio::net::lookup_host((host_name(host).as_str(), port)).await?.collect())
}

#[cfg(test)]
mod tests;
