//! The token of GIT_TOKEN, and the one server that gets it.

use std::fmt;

use zeroize::Zeroizing;

use super::remote::{Protocol, Remote, base64_of, basic_authorization};
use crate::git::GitConfig;

/// User that GitHub requires with a token; GitLab, Gitea and Forgejo accept any.
const USER: &str = "x-access-token";

/// A token that is sent by https to one server and to no other.
#[derive(Clone)]
pub struct GitToken {
    host: String,
    login: Zeroizing<String>,
}

impl fmt::Debug for GitToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("host", &self.host).finish_non_exhaustive()
    }
}

impl GitToken {
    /// Makes the token for the server of `git_url`, the template of the repositories' URLs (GitHub if there is none).
    /// `secret` is a token or `user:password`. Returns none if the template names no server.
    pub fn new(secret: &Zeroizing<String>, git_url: Option<&str>) -> Option<Self> {
        let host = match git_url {
            None => "github.com".to_owned(),
            Some(url) => {
                let remote = Remote::parse(&url.replace(['{', '}'], "")).ok()?;
                match remote.protocol {
                    Protocol::Https => server(&remote.host),
                    // The port of ssh does not matter, because https (for LFS) uses its usual port on that host.
                    Protocol::Ssh => remote.host_name().to_ascii_lowercase(),
                    Protocol::Http | Protocol::File => return None,
                }
            }
        };
        let login = match secret.contains(':') {
            true => secret.clone(),
            false => format!("{USER}:{}", **secret).into(),
        };
        Some(Self { host, login })
    }

    /// Returns the server that gets the token: its name, and its port if that is not 443.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the header for this server (with its port, if the URL has one) by https; none for any other server.
    pub(in crate::git) fn authorization(&self, host: &str) -> Option<Zeroizing<String>> {
        (server(host) == self.host).then(|| basic_authorization(&self.login))
    }

    /// Returns the texts that no log may show.
    pub fn masks(&self) -> Vec<Zeroizing<String>> {
        let password = self.login.split_once(':').map_or("", |(_, password)| password);
        vec![password.to_owned().into(), base64_of(self.login.as_bytes())]
    }
}

impl GitConfig {
    /// Returns the remote with GIT_TOKEN, if the token is for its server and the URL has no login.
    pub(in crate::git) fn authorized(&self, remote: &Remote) -> Remote {
        let mut remote = remote.clone();
        if let Some(token) = self.access.token()
            && remote.protocol == Protocol::Https
            && remote.authorization.is_none()
            && !remote.is_foreign
        {
            remote.authorization = token.authorization(&remote.host);
        }
        remote
    }
}

fn server(host: &str) -> String {
    host.strip_suffix(":443").unwrap_or(host).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::GitAccess;

    fn token(secret: &str, git_url: Option<&str>) -> Option<GitToken> {
        GitToken::new(&secret.to_owned().into(), git_url)
    }

    #[test]
    fn a_token_goes_to_one_server() {
        for (git_url, host) in [
            (None, "github.com"),
            (Some("https://GHE.example.com/{owner}/{repo}.git"), "ghe.example.com"),
            (Some("https://ghe.example.com:443/{owner}/{repo}.git"), "ghe.example.com"),
            (Some("https://ghe.example.com:8443/{owner}/{repo}.git"), "ghe.example.com:8443"),
            (Some("https://[::1]:8443/{owner}/{repo}.git"), "[::1]:8443"),
            (Some("ssh://git@ghe.example.com:2222/{owner}/{repo}.git"), "ghe.example.com"),
            (Some("git@ghe.example.com:{owner}/{repo}.git"), "ghe.example.com"),
        ] {
            let token = token("secret", git_url).unwrap();
            assert_eq!(token.host(), host);
            assert!(token.authorization(host).is_some() && token.authorization(&host.to_uppercase()).is_some());
            for other in ["", "example.com", "github.com.example.com", "ghe.example.com:1", "ghe.example.com@x"] {
                assert!(token.authorization(other).is_none(), "{host} {other}");
            }
        }
        for git_url in ["file:///srv/{owner}/{repo}", "http://127.0.0.1/{owner}/{repo}"] {
            assert!(token("secret", Some(git_url)).is_none());
        }
    }

    #[test]
    fn a_foreign_remote_gets_no_token() {
        let config = GitConfig {
            dir: "/".into(),
            run_dir: "/".into(),
            known_hosts: "/".into(),
            added_hosts: None,
            access: GitAccess::new(token("secret", None), None),
            pure_history_times: false,
            repo_case: crate::model::RepoCase::default(),
            bounds: crate::git::GitBounds::default(),
        };
        let mut remote = Remote::parse("https://github.com/acme/private.git").unwrap();
        assert!(config.authorized(&remote).authorization.is_some());
        remote.is_foreign = true;
        assert!(config.authorized(&remote).authorization.is_none());
        let by_http = Remote::parse("http://github.com/acme/private.git").unwrap();
        assert!(config.authorized(&by_http).authorization.is_none());
    }

    #[test]
    fn a_token_is_sent_as_a_password_and_not_shown() {
        let (token, login) = (token("ghp_secret", None).unwrap(), token("me:hunter22", None).unwrap());
        let header = |token: &GitToken| token.authorization("github.com").unwrap();
        assert_eq!(*header(&token), "Authorization: Basic eC1hY2Nlc3MtdG9rZW46Z2hwX3NlY3JldA==");
        assert_eq!(*header(&login), "Authorization: Basic bWU6aHVudGVyMjI=");
        assert_eq!(
            login.masks().iter().map(|mask| mask.as_str()).collect::<Vec<_>>(),
            ["hunter22", "bWU6aHVudGVyMjI="]
        );
        assert_eq!(format!("{token:?}"), "Token { host: \"github.com\", .. }");
    }
}
