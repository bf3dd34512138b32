use std::fmt;

/// Part of a registry that a login is for: the whole registry, or what is below a path of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LoginKey {
    /// Host with its port, in lower case; `docker.io` for all names of Docker Hub.
    pub host: String,
    /// Path such as `org1` or `org1/app`; empty for the whole registry.
    pub path: String,
}

impl LoginKey {
    /// Reads a key of the file. `quay.io/org1` is a path, by Podman's rule
    /// (<https://github.com/containers/image/blob/main/docs/containers-auth.json.5.md>). A key with a scheme is the whole
    /// registry whatever its path is, by Docker's rule, and so are the paths of Docker's API (`/v1/`, `/v2/`). Returns
    /// `None` for what is neither a host nor a path of one.
    pub fn read(key: &str) -> Option<Self> {
        let (host, path) = parts(key);
        let host = registry_host(host)?;
        if has_scheme(key) || is_api(path) {
            return Some(Self { host, path: String::new() });
        }
        let path = path.to_ascii_lowercase();
        let valid =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        (path.is_empty() || path.split('/').all(valid)).then_some(Self { host, path })
    }

    /// Returns the key of a whole registry, by any of its names.
    pub fn of_host(registry: &str) -> Option<Self> {
        Some(Self { host: registry_host(parts(registry).0)?, path: String::new() })
    }

    /// Returns the keys that are for a repository, the longest path first.
    pub fn candidates(self, repository: &str) -> impl Iterator<Item = Self> {
        let paths = std::iter::successors(Some(repository), |path| match path.rsplit_once('/') {
            Some((parent, _)) => Some(parent),
            None => (!path.is_empty()).then_some(""),
        });
        paths.map(move |path| Self { host: self.host.clone(), path: path.into() })
    }
}

impl fmt::Display for LoginKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = if self.path.is_empty() { "" } else { "/" };
        write!(f, "{}{slash}{}", self.host, self.path)
    }
}

/// Returns true for a key that Docker reads as a whole registry although a path follows, which looks like a part of it.
pub fn hides_path(key: &str) -> bool {
    let path = parts(key).1;
    has_scheme(key) && !path.is_empty() && !is_api(path)
}

/// Returns a key as a message may show it: without what may be a password before an `@`, and of bounded length.
pub fn shown(key: &str) -> String {
    let key = key.rsplit('@').next().unwrap_or_default();
    key.chars().take(100).collect::<String>().escape_debug().to_string()
}

fn has_scheme(key: &str) -> bool {
    scheme(key.trim()) > 0
}

/// Returns the length of the scheme before a host.
fn scheme(key: &str) -> usize {
    let starts = |scheme: &&&str| key.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    ["https://", "http://"].iter().find(starts).map_or(0, |scheme| scheme.len())
}

/// Returns the host of a key as it is written, and the path behind it.
fn parts(key: &str) -> (&str, &str) {
    let key = key.trim();
    let (host, path) = key[scheme(key)..].split_once('/').unwrap_or((&key[scheme(key)..], ""));
    (host, path.trim_matches('/'))
}

/// Returns true for a path of Docker's API, which Docker's own commands write behind a host.
fn is_api(path: &str) -> bool {
    matches!(path.split('/').next(), Some("v1" | "v2"))
}

fn registry_host(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let valid = |b: u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b);
    match host.as_str() {
        "index.docker.io" | "registry-1.docker.io" => Some("docker.io".into()),
        "" => None,
        host => host.bytes().all(valid).then(|| host.into()),
    }
}
