//! The server of a repository's LFS objects (`docs/api/server-discovery.md`), and the method by which it gives them
//! out: HTTP below the repository's own https URL or, for an ssh URL, the methods that git-lfs tries, in its order.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::WantedObject;
use super::http::{self, LfsClient};
use super::method::{Method, MethodError};
use super::shell::{CommandFailure, RemoteShell};
use super::transfer::SshTransfer;
use crate::git::errors::NO_LFS_SERVER;
use crate::git::submodules::split;
use crate::git::transport::remote::{Protocol, Remote};
use crate::git::{Fault, Git, GitError, RepoSource};
use crate::model::LogSink;

/// A server that speaks the batch API, and the headers of every batch.
pub struct LfsServer {
    pub url: Url,
    pub headers: HeaderMap,
    pub client: LfsClient,
}

/// Output of `git-lfs-authenticate`. Its expiry is ignored, because it is used at once.
#[derive(Deserialize)]
struct Authenticated {
    #[serde(default)]
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

impl Git {
    /// Fetches the objects of a repository into the store.
    pub(super) async fn fetch_objects(
        &self,
        source: &RepoSource,
        remote: &Remote,
        wanted: &[WantedObject],
        access: &str,
        log: &dyn LogSink,
    ) -> Result<(), GitError> {
        let (repo, store) = (&source.repo, &*self.lfs.store);
        match remote.protocol {
            Protocol::File => Err(NO_LFS_SERVER.error(&[repo])),
            Protocol::Https | Protocol::Http => {
                self.server_below(remote, source)?.fetch_all(wanted, repo, store, access).await
            }
            Protocol::Ssh => {
                let shell = self.shell(source, remote, log).await?;
                self.fetch_by_ssh(&shell, remote, wanted, access).await
            }
        }
    }

    async fn fetch_by_ssh(
        &self,
        shell: &RemoteShell<'_>,
        remote: &Remote,
        wanted: &[WantedObject],
        access: &str,
    ) -> Result<(), GitError> {
        let (name, methods) = (shell.name(), &self.lfs.methods);
        let (known, mut is_retry) = (methods.of(&name), false);
        // If the known method is gone, or the guess fails, the server may have been changed, so all methods are tried
        // again.
        for method in known.into_iter().chain([Method::Transfer, Method::Authenticate, Method::Guess]) {
            let fetched = match method {
                Method::Transfer => self.by_transfer(shell, wanted, access).await,
                Method::Authenticate => self.by_authenticate(shell, remote, wanted, access).await,
                Method::Guess => self.by_guess(shell, remote, wanted, access).await,
            };
            match fetched {
                Ok(()) => {
                    methods.note(name, method);
                    return Ok(());
                }
                Err(error) => {
                    methods.forget(&name);
                    let is_old_guess = known == Some(Method::Guess) && !is_retry;
                    match error {
                        MethodError::Failed(error) if error.is_transient() || !is_old_guess => return Err(error),
                        MethodError::Failed(_) | MethodError::Unavailable => {}
                    }
                }
            }
            is_retry = true;
        }
        Err(GitError::refused(format!("{} gives out no LFS files of {}", shell.host(), shell.source().repo)))
    }

    async fn by_transfer(
        &self,
        shell: &RemoteShell<'_>,
        wanted: &[WantedObject],
        access: &str,
    ) -> Result<(), MethodError> {
        let mut transfer = SshTransfer::open(shell).await?;
        transfer.fetch(wanted, &self.lfs.store, access).await?;
        transfer.quit().await;
        Ok(())
    }

    async fn by_authenticate(
        &self,
        shell: &RemoteShell<'_>,
        remote: &Remote,
        wanted: &[WantedObject],
        access: &str,
    ) -> Result<(), MethodError> {
        let (repo, host) = (&shell.source().repo, shell.host());
        let answer = match shell.ask("git-lfs-authenticate").await {
            Ok(answer) => answer,
            Err(CommandFailure::Ssh(error)) => return Err(error.into()),
            // A shell that finds no such program ends with 127; git-shell says it only in words.
            Err(CommandFailure::Command(code, words)) if code == 127 || words.contains("unrecognized command") => {
                return Err(MethodError::Unavailable);
            }
            Err(CommandFailure::Command(exit_code, words)) => {
                let message = format!(
                    "{host} gives no access to the LFS files of {repo} ({words}): does it have LFS, and \
                     git-lfs-authenticate?"
                );
                return Err(GitError { exit_code, message, fault: Fault::Request }.into());
            }
        };
        let Authenticated { href, header } = serde_json::from_slice(&answer).map_err(|_| {
            GitError::refused(format!("{host} answers git-lfs-authenticate for {repo} with what is not JSON"))
        })?;
        let headers = http::headers(header.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        let href = match href.is_empty() {
            true => format!("{}/info/lfs", https_remote(remote, shell.source())?.url),
            false => href,
        };
        let server = self.server(&href, headers, remote, shell.source())?;
        Ok(server.fetch_all(wanted, repo, &self.lfs.store, access).await?)
    }

    async fn by_guess(
        &self,
        shell: &RemoteShell<'_>,
        remote: &Remote,
        wanted: &[WantedObject],
        access: &str,
    ) -> Result<(), MethodError> {
        let source = shell.source();
        let https = https_remote(remote, source)?;
        let fetched = self.server_below(&https, source)?.fetch_all(wanted, &source.repo, &self.lfs.store, access).await;
        fetched.map_err(|error| {
            let message = format!(
                "{} ({} is where git-lfs looks too, because {} has neither git-lfs-transfer nor git-lfs-authenticate)",
                error.message,
                https.url,
                shell.host()
            );
            MethodError::Failed(GitError { message, ..error })
        })
    }

    /// Returns the server below a repository's http or https URL, with GIT_TOKEN or the URL's own login.
    fn server_below(&self, remote: &Remote, source: &RepoSource) -> Result<LfsServer, GitError> {
        let remote = &self.config.authorized(remote);
        let authorization = remote.authorization.as_ref().and_then(|header| header.split_once(": "));
        let href = format!("{}://{}/{}.git/info/lfs", remote.protocol.as_str(), remote.host, path(remote));
        self.server(&href, http::headers(authorization)?, remote, source)
    }

    fn server(
        &self,
        href: &str,
        headers: HeaderMap,
        remote: &Remote,
        source: &RepoSource,
    ) -> Result<LfsServer, GitError> {
        let url = Url::parse(&format!("{}/objects/batch", href.trim_end_matches('/'))).map_err(|error| {
            GitError::refused(format!("the LFS server of {} has no valid URL: {error}", source.repo))
        })?;
        let client = self.lfs.http.client(remote.is_foreign, self.config.access.cacert().as_deref())?;
        Ok(LfsServer { url, headers, client })
    }
}

/// Returns the https URL at which git-lfs looks for a repository that is fetched by ssh: on the same host, at the usual
/// port.
fn https_remote(remote: &Remote, source: &RepoSource) -> Result<Remote, GitError> {
    let url = format!("https://{}/{}.git", remote.host_name(), path(remote));
    let invalid = |why| GitError::refused(format!("the LFS server of {} has no valid URL: {why}", source.repo));
    let mut https = Remote::parse(&url).map_err(invalid)?;
    https.is_foreign = remote.is_foreign;
    Ok(https)
}

/// Returns a repository's path without `.git`.
fn path(remote: &Remote) -> &str {
    let path = split(&remote.url).map_or("", |(_, path)| path).trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::{GitAccess, GitConfig, GitToken};
    use crate::model::RepoName;

    /// GIT_TOKEN goes only to GIT_URL's host, even where GIT_URL is ssh and the guess is https.
    #[tokio::test]
    async fn a_guess_is_on_the_same_host_and_gets_its_token() {
        let dir = tempfile::tempdir().unwrap();
        let template = "ssh://git@git.example.com:2222/{owner}/{repo}.git";
        let git = Git::new(GitConfig {
            dir: dir.path().join("data"),
            run_dir: dir.path().join("run"),
            known_hosts: dir.path().join("known_hosts"),
            added_hosts: None,
            access: GitAccess::new(GitToken::new(&"me:hunter22".to_owned().into(), Some(template)), None),
            pure_history_times: false,
            repo_case: crate::model::RepoCase::default(),
            bounds: crate::git::GitBounds::default(),
        })
        .unwrap();
        for (url, is_foreign, batch, is_ours) in [
            (
                "ssh://git@git.example.com:2222/a/b.git",
                false,
                "https://git.example.com/a/b.git/info/lfs/objects/batch",
                true,
            ),
            ("git@git.example.com:a/b", false, "https://git.example.com/a/b.git/info/lfs/objects/batch", true),
            ("git@git.example.com:a/b", true, "https://git.example.com/a/b.git/info/lfs/objects/batch", false),
            ("git@git.example.org:a/b", false, "https://git.example.org/a/b.git/info/lfs/objects/batch", false),
            ("ssh://git@[::1]:2222/a/b.git", false, "https://[::1]/a/b.git/info/lfs/objects/batch", false),
        ] {
            let source = RepoSource { repo: RepoName::parse("a/b").unwrap(), url: url.into(), key: None };
            let mut remote = Remote::parse(url).unwrap();
            remote.is_foreign = is_foreign;
            let server = git.server_below(&https_remote(&remote, &source).unwrap(), &source).unwrap();
            assert_eq!((server.url.as_str(), server.headers.contains_key("authorization")), (batch, is_ours), "{url}");
        }
    }
}
