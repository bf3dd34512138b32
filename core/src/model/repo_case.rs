//! The rule by which two spellings of `owner/repo` name one repository or two.
//!
//! GitHub, GitLab, Bitbucket, Gitea and Forgejo ignore case in the names of repositories; a plain Git server does not. A
//! [`RepoName`](super::RepoName) knows no host, so the rule is decided once at the start, from REPO_CASE and the host of
//! GIT_URL, and is given to every place that compares repositories: ALLOW_REPOS, PRIORITIES, IMAGES_ALLOWED, the deploy
//! keys, the mirrors, and the `repository` column of the store. A job gets its key when it is stored; the choice of the
//! engine, the synced context, the table of file times, the turns, superseding and the lists go by that key.
//!
//! A host that is not known keeps case, because the two mistakes differ in cost: one repository with two keys is built
//! twice, whereas two repositories with one key would share a deploy key, a mirror and a place in ALLOW_REPOS.

/// Hosts whose forge ignores case. Subdomains of the last ones are a customer's own GitHub.
const IGNORING: [&str; 9] = [
    "github.com",
    "ssh.github.com",
    "gitlab.com",
    "altssh.gitlab.com",
    "bitbucket.org",
    "altssh.bitbucket.org",
    "codeberg.org",
    "gitea.com",
    "ghe.com",
];

/// Whether letters in upper and lower case are the same in the name of a repository. The default is GitHub's rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RepoCase {
    #[default]
    Ignore,
    Keep,
}

impl RepoCase {
    /// Returns the rule of a host that is known; `Keep` for any other.
    pub fn of_host(host: &str) -> Self {
        let host = host.to_ascii_lowercase();
        // A dot at the end makes a name absolute, and forges redirect from `www.`.
        let host = host.strip_suffix('.').unwrap_or(&host);
        let host = host.strip_prefix("www.").unwrap_or(host);
        match IGNORING.contains(&host) || host.ends_with(".ghe.com") {
            true => Self::Ignore,
            false => Self::Keep,
        }
    }

    /// Returns the key of a name, or of a part of one: two spellings of one repository have the same key.
    pub fn key(self, name: &str) -> String {
        match self {
            Self::Ignore => name.to_ascii_lowercase(),
            Self::Keep => name.into(),
        }
    }

    /// Returns true if both are spellings of one name.
    pub fn is_same(self, one: &str, other: &str) -> bool {
        match self {
            Self::Ignore => one.eq_ignore_ascii_case(other),
            Self::Keep => one == other,
        }
    }

    /// Returns the word for the setting and for the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ignore => "ignore",
            Self::Keep => "keep",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forges_that_are_known_ignore_case_and_other_hosts_keep_it() {
        for host in [
            "github.com",
            "GitHub.com",
            "www.github.com",
            "github.com.",
            "WWW.gitlab.com.",
            "acme.ghe.com",
            "gitlab.com",
            "bitbucket.org",
            "codeberg.org",
        ] {
            assert_eq!(RepoCase::of_host(host), RepoCase::Ignore, "{host}");
        }
        for host in
            ["git.acme.org", "github.com.evil.org", "evilghe.com", "www.acme.org", "wwwgithub.com", "127.0.0.1", ""]
        {
            assert_eq!(RepoCase::of_host(host), RepoCase::Keep, "{host}");
        }
    }

    #[test]
    fn spellings_have_one_key_only_where_case_is_ignored() {
        let keys = |case: RepoCase| ["Acme/Hello", "acme/hello"].map(|name| case.key(name));
        assert_eq!(keys(RepoCase::Ignore), ["acme/hello", "acme/hello"]);
        assert_eq!(keys(RepoCase::Keep), ["Acme/Hello", "acme/hello"]);
        assert!(RepoCase::Ignore.is_same("Acme", "acme") && !RepoCase::Keep.is_same("Acme", "acme"));
    }
}
