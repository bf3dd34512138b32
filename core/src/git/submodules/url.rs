//! The text of URLs that [`Remote`](crate::git::transport::remote::Remote) has accepted or will check.

/// Splits a URL into the part that names the host, up to the `/` or `:` before the path, and the path.
pub fn split(url: &str) -> Option<(&str, &str)> {
    let at = match url.find("://") {
        Some(at) => at + 3 + url[at + 3..].find('/')? + 1,
        None => {
            let path = url.find(':')? + 1;
            path + usize::from(url[path..].starts_with('/'))
        }
    };
    Some(url.split_at(at))
}

/// Returns true if Git reads the URL as relative to the superproject's.
pub fn is_relative(url: &str) -> bool {
    url.starts_with("./") || url.starts_with("../")
}

/// Resolves a relative URL like `git submodule`, but never beyond the host (where Git goes on to remove the host and
/// the scheme).
pub fn resolve(base: &str, url: &str) -> Result<String, &'static str> {
    let (root, path) = split(base).ok_or("is relative to a URL that has no path")?;
    let mut parts: Vec<_> = path.trim_end_matches('/').split('/').collect();
    let mut rest = url;
    loop {
        if let Some(after) = rest.strip_prefix("../") {
            parts.pop().ok_or("leaves the host")?;
            rest = after;
        } else if let Some(after) = rest.strip_prefix("./") {
            rest = after;
        } else {
            break;
        }
    }
    let rest = rest.trim_end_matches('/');
    if rest.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("has an empty part, or one of dots");
    }
    parts.push(rest);
    Ok(format!("{root}{}", parts.join("/")))
}

/// Returns true if a server could read a part of the path as `..`. Git decodes `%2e` for some protocols, and servers
/// decode it for others.
pub fn has_parent_part(url: &str) -> bool {
    let plain = url.replace("%2e", ".").replace("%2E", ".").replace("%2f", "/").replace("%2F", "/");
    split(&plain).is_some_and(|(_, path)| path.split('/').any(|part| part == ".."))
}

/// Returns the text before the host's `@` in a URL with a scheme.
pub fn user_info(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit_once('@').map(|(user_info, _)| user_info)
}

/// Returns a host without its port, in lower case, and an IPv6 address without its brackets.
pub fn host_name(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    };
    name.unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::transport::remote::Remote;
    use proptest::prelude::*;

    #[test]
    fn relative_urls_are_gits() {
        for (base, url, resolved) in [
            ("https://github.com/acme/hello.git", "../lib.git", "https://github.com/acme/lib.git"),
            ("https://github.com/acme/hello.git/", "../../other/lib/", "https://github.com/other/lib"),
            ("https://github.com/acme/hello", "./lib.git", "https://github.com/acme/hello/lib.git"),
            ("https://me:pw@host:8443/a/b.git", "../c.git", "https://me:pw@host:8443/a/c.git"),
            ("git@github.com:acme/hello.git", "../lib.git", "git@github.com:acme/lib.git"),
            ("git@github.com:acme/hello.git", "../../lib.git", "git@github.com:lib.git"),
            ("git@host:/srv/acme/hello.git", "../lib.git", "git@host:/srv/acme/lib.git"),
            ("ssh://git@host:2222/srv/a/b.git", ".././../c/d", "ssh://git@host:2222/srv/c/d"),
            ("file:///srv/git/acme/hello.git", "../lib.git", "file:///srv/git/acme/lib.git"),
        ] {
            assert_eq!(resolve(base, url).as_deref(), Ok(resolved), "{base} {url}");
        }
        for base in ["https://github.com/acme/hello.git", "git@github.com:acme/hello.git"] {
            assert_eq!(resolve(base, "../../../lib.git"), Err("leaves the host"), "{base}");
        }
    }

    #[test]
    fn a_parent_part_is_seen() {
        for url in ["https://h/a/../b", "https://h/a/..", "git@h:../a", "ssh://h/%2e%2E/a", "https://h/a%2f..%2Fb"] {
            assert!(has_parent_part(url), "{url}");
        }
        for url in ["https://h/a..b/...", "git@h:a/b"] {
            assert!(!has_parent_part(url), "{url}");
        }
    }

    #[test]
    fn names_of_hosts() {
        assert_eq!(["[::1]:22", "Git.Corp:22", "h"].map(host_name), ["::1", "git.corp", "h"]);
    }

    proptest! {
        #[test]
        fn a_relative_url_keeps_the_host(url in "(\\.\\./|\\./){1,5}[a-z/:@.]{0,10}") {
            for base in ["https://github.com/acme/hello.git", "git@github.com:acme/hello.git"] {
                let remote = resolve(base, &url).ok().and_then(|resolved| Remote::parse(&resolved).ok());
                if let Some(remote) = remote {
                    prop_assert_eq!(split(&remote.url).unwrap().0, split(base).unwrap().0);
                }
            }
        }
    }
}
