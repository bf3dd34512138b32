//! Where a submodule is fetched from, and with what rights.
//!
//! Whoever can push to a repository chooses its submodules. So a submodule gets no more than the repository itself has:
//! a deploy key and a password go to GIT_URL's host alone; the key is that of a submodule of the same owner, and else
//! the repository's own; another host is reached by https, without credentials, and not on this machine or its link;
//! and so is what a repository on another host names.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::url::{climbs, host_name, is_relative, resolve, split, user_info};
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

/// Where a submodule is.
#[derive(Debug)]
pub(in crate::git) struct SubmoduleSource {
    pub source: RepoSource,
    pub remote: Remote,
    /// The key is the superproject's, and not because both have one owner.
    pub borrows_key: bool,
}

impl SubmoduleSource {
    /// Says whose key it was that did not open it.
    pub fn explain(&self, error: GitError) -> GitError {
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

    /// `url` is as in `.gitmodules`, `base` that of the repository which has it, and which may itself be foreign: then
    /// all that it names is.
    pub async fn place(&self, base: &str, is_foreign: bool, url: &str) -> Result<SubmoduleSource, GitError> {
        let mut place = self.judge(base, is_foreign, url).map_err(|why| GitError::refused(format!("its URL {why}")))?;
        if place.remote.is_foreign {
            place.remote.pinned = self.pin(&place.remote).await?;
        }
        Ok(place)
    }

    /// All that can be said without asking the name service.
    fn judge(&self, base: &str, base_is_foreign: bool, url: &str) -> Result<SubmoduleSource, String> {
        if url.starts_with('-') {
            return Err("starts with '-'".into());
        }
        let is_relative = is_relative(url);
        let mut url = if is_relative { resolve(base, url)? } else { url.to_owned() };
        let mut remote = Remote::parse(&url).map_err(|why| format!("cannot be used: {why}"))?;
        if climbs(&url) {
            return Err("has .. in its path".into());
        }
        let is_foreign = base_is_foreign || host_name(&remote.host) != host_name(&self.remote.host);
        if !is_relative {
            if user_info(&url).is_some_and(|user_info| user_info.contains(':')) {
                return Err("has a password in it: take it out, everybody who may read the repository sees it".into());
            }
            if remote.protocol != Protocol::Ssh {
                // A user without a password helps nobody.
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
                return Err(format!("is on {}, and deploy keys go to GIT_URL's host alone: use https", remote.host));
            }
            Protocol::Ssh => {}
            Protocol::Http if self.remote.protocol == Protocol::Http && !is_foreign => {}
            Protocol::Http => return Err("is a http URL: use https or ssh".into()),
            Protocol::File if is_relative && self.is_beside(&url) => {}
            Protocol::File => return Err("is a file URL, which only the operator may use: use https or ssh".into()),
        }
        let (repo, key) = self.name_and_key(&url);
        let key = match remote.protocol {
            Protocol::Ssh => key.map_err(|error| format!("needs a key: {error}"))?,
            _ => None,
        };
        let ours = self.remote.protocol;
        if remote.protocol == Protocol::Ssh && key.is_none() && matches!(ours, Protocol::Https | Protocol::Http) {
            // As whoever has a token instead of keys expects it: what is there by ssh is there by https too.
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

    /// The remote's URL, with GIT_URL's user and password if it is on that server.
    fn with_login(&self, remote: &Remote) -> String {
        let ours = &self.remote;
        let is_same = remote.protocol == ours.protocol && remote.host.eq_ignore_ascii_case(&ours.host);
        match (user_info(&self.source.url).filter(|_| is_same), remote.url.split_once("://")) {
            (Some(login), Some((scheme, rest))) => format!("{scheme}://{login}@{rest}"),
            _ => remote.url.clone(),
        }
    }

    /// The path of all repositories: of GIT_URL, what is before `{owner}/{repo}`; `None` if it is not of this form.
    fn home(&self) -> Option<&str> {
        let (_, path) = split(&self.source.url)?;
        let repo = self.source.repo.to_string();
        let path = path.trim_matches('/');
        path.strip_suffix(".git")
            .unwrap_or(path)
            .strip_suffix(&repo)
            .filter(|home| home.is_empty() || home.ends_with('/'))
    }

    /// The name that the URL tells, as far as it is one, and the key that the submodule is fetched with. An error is of a
    /// key that is stored and cannot be used.
    fn name_and_key(&self, url: &str) -> (RepoName, Result<Option<Arc<DeployKey>>, SecretsError>) {
        let ours = &self.source.repo;
        let path = split(url).map_or("", |(_, path)| path).trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let told = self.home().and_then(|home| RepoName::parse(path.strip_prefix(home)?).ok());
        let key = match &told {
            Some(name) if self.secrets.repo_case.is_same(name.owner(), ours.owner()) => self.secrets.deploy_key(name),
            _ => Ok(None),
        };
        let key = match (key, &self.source.key) {
            (Ok(None), Some(ours)) => Ok(Some(ours.clone())),
            // The superproject is fetched without its key, which need not be one that can be used.
            (Ok(None), None) => self.secrets.deploy_key(ours),
            (key, _) => key,
        };
        let shown = || {
            let mut parts = path.rsplit('/');
            let (name, owner) = (parts.next()?, parts.next()?);
            RepoName::new(owner, name).ok()
        };
        (told.or_else(shown).unwrap_or_else(|| ours.clone()), key)
    }

    /// Whether a file URL is below the folder of the operator's repositories.
    fn is_beside(&self, url: &str) -> bool {
        let Some((root, path)) = split(&self.source.url) else { return false };
        let path = path.trim_end_matches('/');
        let home = self.home().or_else(|| path.rfind('/').map(|slash| &path[..=slash])).unwrap_or_default();
        self.remote.protocol == Protocol::File && url.starts_with(&format!("{root}{home}"))
    }

    /// Looks the host up and refuses an inward address; what is good is what Git may connect to (in the form of
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
