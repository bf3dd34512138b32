//! The URL that a repository is fetched from. The operator's template made it, and only the validated names in it come
//! from outside. Nevertheless Git gets only URLs of these forms: `https://`, `http://`, `ssh://`, `file:///` and
//! `user@host:path`.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::git) enum Protocol {
    Https,
    Http,
    Ssh,
    File,
}

impl Protocol {
    /// Returns the protocol's name in GIT_ALLOW_PROTOCOL.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }
}

/// A URL without its password, and the password as an HTTP header, because a URL is shown, stored and put on command
/// lines.
#[derive(Clone)]
pub(in crate::git) struct Remote {
    pub url: String,
    pub protocol: Protocol,
    /// User of an ssh URL, if it has one.
    user: Option<String>,
    /// Host with the port, if the URL has one; empty for a file URL.
    pub host: String,
    /// The header `Authorization: Basic …`, which Git gets through its environment.
    pub authorization: Option<Zeroizing<String>>,
    /// True if the URL is not on the superproject's host, or a repository of another host named it: none of our
    /// credentials go there.
    pub is_foreign: bool,
    /// The only addresses at which Git may reach a host that a payload named, in the form of `http.curloptResolve`.
    pub pinned: Option<String>,
}

/// Returns the host of a URL, or of a template of URLs, in lower case and without the port; empty for a file, and `None`
/// for what is no URL.
pub fn host_of(url: &str) -> Option<String> {
    Remote::parse(&url.replace(['{', '}'], "")).ok().map(|remote| remote.host_name().to_ascii_lowercase())
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl Remote {
    /// Parses a URL. An error says what is wrong with the URL and shows no part of it.
    pub fn parse(url: &str) -> Result<Self, &'static str> {
        if url.bytes().any(|b| b <= b' ' || b == 0x7f) || ["%0", "%1", "%7f", "%7F"].iter().any(|c| url.contains(c)) {
            return Err("it contains a space or a control character");
        }
        let (protocol, rest) = match url.split_once("://") {
            Some(("https", rest)) => (Protocol::Https, rest),
            Some(("http", rest)) => (Protocol::Http, rest),
            Some(("ssh", rest)) => (Protocol::Ssh, rest),
            Some(("file", rest)) => (Protocol::File, rest),
            Some(_) => return Err("only https, http, ssh and file URLs, and user@host:path, are allowed"),
            None => return Self::scp_form(url),
        };
        let (authority, path) = rest.split_at(rest.find('/').ok_or("it has no path")?);
        if path.len() < 2 {
            return Err("it has no path");
        }
        let (user_info, host) = match authority.rsplit_once('@') {
            Some((user_info, host)) => (Some(user_info), host),
            None => (None, authority),
        };
        if protocol == Protocol::File {
            return match authority {
                "" => Ok(Self {
                    url: url.into(),
                    protocol,
                    user: None,
                    host: String::new(),
                    authorization: None,
                    is_foreign: false,
                    pinned: None,
                }),
                _ => Err("a file URL has three slashes: file:///path"),
            };
        }
        check_host(host)?;
        let scheme = protocol.as_str();
        let (url, user, authorization) = match (protocol, user_info) {
            (_, None) => (url.into(), None, None),
            (Protocol::Ssh, Some(user_info)) => {
                // Git uses no password of an ssh URL, and an operator's password must not be shown.
                let user = user_info.split(':').next().unwrap_or_default();
                check_user(user)?;
                (format!("{scheme}://{user}@{host}{path}"), Some(user.to_owned()), None)
            }
            // The user is as secret as a password, because a token may stand in its place.
            (_, Some(user_info)) => (format!("{scheme}://{host}{path}"), None, Some(authorization(user_info))),
        };
        Ok(Self { url, protocol, user, host: host.into(), authorization, is_foreign: false, pinned: None })
    }

    fn scp_form(url: &str) -> Result<Self, &'static str> {
        const FORM: &str = "it is neither a URL nor user@host:path; a path is written file:///path";
        let (login, path) = url.split_once(':').ok_or(FORM)?;
        if login.contains('/') || path.is_empty() || path.starts_with([':', '-']) {
            return Err(FORM);
        }
        let (user, host) = login.rsplit_once('@').map_or((None, login), |(user, host)| (Some(user), host));
        user.map_or(Ok(()), check_user)?;
        check_host(host)?;
        let user = user.map(str::to_owned);
        Ok(Self {
            url: url.into(),
            protocol: Protocol::Ssh,
            user,
            host: host.into(),
            authorization: None,
            is_foreign: false,
            pinned: None,
        })
    }

    /// Returns ssh's arguments for the server: `-p PORT user@host`.
    pub fn ssh_destination(&self) -> Vec<String> {
        let host = self.host_name().trim_start_matches('[').trim_end_matches(']');
        let login = self.user.as_ref().map_or(host.into(), |user| format!("{user}@{host}"));
        let port = self.port().into_iter().flat_map(|port| ["-p".to_owned(), port.to_owned()]);
        port.chain([login]).collect()
    }

    /// Returns the host without the port, and an IPv6 address in its brackets.
    pub fn host_name(&self) -> &str {
        self.port().map_or(&self.host, |port| &self.host[..self.host.len() - port.len() - 1])
    }

    fn port(&self) -> Option<&str> {
        self.host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.ends_with(']'))
    }

    /// Returns true if the URL had a user in it.
    pub fn has_login(&self) -> bool {
        self.user.is_some() || self.authorization.is_some()
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    match host {
        "" => Err("it has no host"),
        _ if host.starts_with('-') => Err("its host starts with '-'"),
        _ if host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b)) => Ok(()),
        _ => Err("its host contains a character that no host has"),
    }
}

fn check_user(user: &str) -> Result<(), &'static str> {
    let proper = |b: u8| b.is_ascii_alphanumeric() || b"._-+".contains(&b);
    match user.is_empty() || user.starts_with('-') || !user.bytes().all(proper) {
        true => Err("its user name is not valid"),
        false => Ok(()),
    }
}

fn authorization(user_info: &str) -> Zeroizing<String> {
    let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
    let plain = Zeroizing::new([&percent_decoded(user)[..], b":", &percent_decoded(password)].concat());
    basic_authorization(&*plain)
}

fn percent_decoded(text: &str) -> Zeroizing<Vec<u8>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    bytes.extend(percent_decode_str(text));
    bytes
}

/// Returns the header `Authorization: Basic …` of `user:password`.
pub(super) fn basic_authorization(login: impl AsRef<[u8]>) -> Zeroizing<String> {
    format!("Authorization: Basic {}", *base64_of(login.as_ref())).into()
}

pub(super) fn base64_of(login: &[u8]) -> Zeroizing<String> {
    BASE64_STANDARD.encode(login).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_that_operators_write_are_parsed() {
        for (url, protocol, host) in [
            ("https://github.com/acme/hello.git", Protocol::Https, "github.com"),
            ("http://127.0.0.1:3000/acme/hello.git", Protocol::Http, "127.0.0.1:3000"),
            ("ssh://git@127.0.0.1:2222/srv/acme/hello.git", Protocol::Ssh, "127.0.0.1:2222"),
            ("ssh://git@[::1]:2222/srv/acme/hello.git", Protocol::Ssh, "[::1]:2222"),
            ("git@github.com:acme/hello.git", Protocol::Ssh, "github.com"),
            ("github.com:acme/hello.git", Protocol::Ssh, "github.com"),
            ("file:///srv/git/acme/hello.git", Protocol::File, ""),
        ] {
            let remote = Remote::parse(url).unwrap();
            assert_eq!((remote.url.as_str(), remote.protocol, remote.host.as_str()), (url, protocol, host));
            assert!(remote.authorization.is_none());
        }
    }

    #[test]
    fn ssh_gets_its_destination_as_arguments() {
        let destination = |url| Remote::parse(url).unwrap().ssh_destination().join(" ");
        assert_eq!(destination("git@github.com:acme/hello.git"), "git@github.com");
        assert_eq!(destination("ssh://me@127.0.0.1:2222/a/b.git"), "-p 2222 me@127.0.0.1");
        assert_eq!(destination("ssh://me@[::1]:2222/a/b.git"), "-p 2222 me@::1");
        assert_eq!(destination("ssh://[::1]/a/b.git"), "::1");
    }

    #[test]
    fn a_password_is_taken_out() {
        let remote = Remote::parse("https://me:p%40ss@example.com/acme/hello.git").unwrap();
        assert_eq!(remote.url, "https://example.com/acme/hello.git");
        assert_eq!(**remote.authorization.as_ref().unwrap(), "Authorization: Basic bWU6cEBzcw==");
        assert!(!format!("{remote:?}").contains("bWU6"));
        assert_eq!(Remote::parse("https://token@example.com/a").unwrap().url, "https://example.com/a");
        assert_eq!(Remote::parse("ssh://git:pass@example.com/a").unwrap().url, "ssh://git@example.com/a");
    }

    #[test]
    fn attacks_are_refused() {
        for url in [
            "ext::sh -c id",
            "ext::id",
            "https::x",
            "git://example.com/a",
            "ftp://example.com/a",
            "--upload-pack=id",
            "-oProxyCommand=id:a",
            "ssh://-oProxyCommand=id/a",
            "ssh://-l@example.com/a",
            "ssh://git@-x/a",
            "-l@example.com:a",
            "git@-x:a",
            "git@example.com:-a",
            "git@example.com::a",
            "https:///a",
            "ssh://git@/a",
            ":a",
            "git@:a",
            "https://example.com",
            "https://example.com/",
            "https://exa%0ample.com/a",
            "https://example.com/a%0ab",
            "https://example.com/a\nb",
            "file://host/a",
            "/srv/git/a",
            "../a",
            "",
        ] {
            assert!(Remote::parse(url).is_err(), "{url}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_no_option_and_no_helper(url in "(https|ssh|file|ext|-x)?(://|::|:|@)?[a-z:@/%0.-]{0,20}") {
            if let Ok(remote) = Remote::parse(&url) {
                prop_assert!(!remote.url.starts_with('-') && !remote.host.starts_with('-'));
                // The name of a remote helper ends with the first `::`.
                prop_assert!(!remote.url.split_once(':').unwrap().1.starts_with(':'));
                prop_assert_eq!(remote.host.is_empty(), remote.protocol == Protocol::File);
            }
        }
    }
}
