//! Which server has a repository's LFS objects (`docs/api/server-discovery.md`): below its https URL, or the one that
//! `ssh HOST git-lfs-authenticate PATH download` names.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::HeaderMap;
use serde::Deserialize;

use super::http::{self, Caller};
use crate::git::command::{for_shell, for_ssh, ssh_options};
use crate::git::errors::last_words;
use crate::git::remote::{Protocol, Remote};
use crate::git::submodules::{host_name, split};
use crate::git::{Blame, Git, GitError, Source};
use crate::model::LogSink;
use crate::process::Program;

/// A server, and what it is sent with every batch.
pub struct Server {
    pub url: Url,
    pub headers: HeaderMap,
    pub caller: Caller,
}

/// What `git-lfs-authenticate` prints; when it expires is of no interest, as it is used at once.
#[derive(Deserialize)]
struct Authenticated {
    #[serde(default)]
    href: String,
    #[serde(default)]
    header: BTreeMap<String, String>,
}

impl Git {
    pub(super) async fn lfs_server(
        &self,
        source: &Source,
        remote: &Remote,
        log: &dyn LogSink,
    ) -> Result<Server, GitError> {
        let (repo, remote) = (&source.repo, &self.config.authorized(remote));
        let path = split(&remote.url).map_or("", |(_, path)| path).trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let below = |scheme: &str, host: &str| format!("{scheme}://{host}/{path}.git/info/lfs");
        let (href, headers) = match remote.protocol {
            Protocol::File => {
                let message =
                    format!("{repo} has LFS files, and a file URL has no LFS server: serve it by ssh or https");
                return Err(GitError::refused(message));
            }
            Protocol::Https | Protocol::Http => {
                let authorization = remote.authorization.as_ref().and_then(|header| header.split_once(": "));
                (below(remote.protocol.as_str(), &remote.host), http::headers(authorization)?)
            }
            Protocol::Ssh => {
                let Authenticated { href, header } = self.authenticate(source, remote, log).await?;
                let headers = http::headers(header.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
                (if href.is_empty() { below("https", &host_name(&remote.host)) } else { href }, headers)
            }
        };
        let url = Url::parse(&format!("{}/objects/batch", href.trim_end_matches('/')));
        let url =
            url.map_err(|error| GitError::refused(format!("the LFS server of {repo} has no valid URL: {error}")))?;
        Ok(Server { url, headers, caller: self.lfs.http.caller(remote.is_foreign, self.config.cacert.as_deref())? })
    }

    async fn authenticate(
        &self,
        source: &Source,
        remote: &Remote,
        log: &dyn LogSink,
    ) -> Result<Authenticated, GitError> {
        let (config, repo, host) = (&self.config, &source.repo, &remote.host);
        let connection = self.connect(source, remote, log).await?;
        let mut program = Program::new("ssh").owner(&config.dir).args(["-F", "none"]);
        let mut options = ssh_options(config, connection.agent().is_some());
        options.extend(connection.socket().map(|socket| format!("ControlPath={}", for_ssh(socket))));
        for option in options {
            program = program.arg("-o").arg(option);
        }
        if let Some(agent) = connection.agent() {
            program = program.env("SSH_AUTH_SOCK", agent.socket());
        }
        // As Git gives it to git-upload-pack: with its `/`, if the URL has a scheme.
        let path = split(&remote.url).map_or("", |(root, path)| match root.ends_with('/') {
            true => &remote.url[root.len() - 1..],
            false => path,
        });
        let command = format!("git-lfs-authenticate {} download", for_shell(path));
        let finished = program.args(remote.ssh_destination()).arg(command).output().await?;
        if finished.status.success() {
            return serde_json::from_slice(&finished.stdout).map_err(|_| {
                GitError::refused(format!("{host} answers git-lfs-authenticate for {repo} with what is not JSON"))
            });
        }
        // 255 is ssh's own; all others are of the command on the server.
        let words = last_words(&finished.stderr);
        let explained = self.explain(&connection, &finished.stderr, 255, source, remote);
        Err(match (finished.status.code(), explained) {
            (Some(255) | None, Some(error)) => error,
            (Some(255) | None, None) => {
                let message = format!("{host} cannot be asked for the LFS files of {repo} ({words}): try again");
                GitError { exit_code: 255, message, blame: Blame::Server }
            }
            (Some(code), _) => GitError {
                exit_code: code,
                message: format!(
                    "{host} gives no access to the LFS files of {repo} ({words}): does it have LFS, and \
                     git-lfs-authenticate?"
                ),
                blame: Blame::Asked,
            },
        })
    }
}
