use super::{NameError, RepoCase, RepoName};

/// The repositories to which a token is limited: each entry is `owner/*` or `owner/repo`. No entry limits to nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepoLimits(Vec<String>);

impl RepoLimits {
    /// Reads entries. `owner` stands for `owner/*`.
    ///
    /// # Errors
    /// An entry that names no owner and no repository, such as one with another wildcard.
    pub fn new(entries: &[String]) -> Result<Self, NameError> {
        let read = |entry: &String| {
            let (owner, repo) = entry.split_once('/').unwrap_or((entry, "*"));
            RepoName::new(owner, if repo == "*" { "any" } else { repo })?;
            Ok(format!("{owner}/{repo}"))
        };
        entries.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    pub fn entries(&self) -> &[String] {
        &self.0
    }

    pub fn are_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns true if a token with these limits may see and build `owner/repo`.
    pub fn allow(&self, case: RepoCase, repository: &str) -> bool {
        let is_within = |entry: &String| match (entry.strip_suffix('*'), repository.split_once('/')) {
            (Some(prefix), Some((owner, repo))) => {
                !repo.contains('/') && prefix.strip_suffix('/').is_some_and(|wanted| case.is_same(wanted, owner))
            }
            _ => case.is_same(entry, repository),
        };
        self.are_none() || self.0.iter().any(is_within)
    }

    /// Returns the entries as the store compares them with the keys of repositories: `owner/` for all of an owner's.
    pub fn keys(&self, case: RepoCase) -> Vec<String> {
        self.0.iter().map(|entry| case.key(entry.trim_end_matches('*'))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(entries: &[&str]) -> Result<RepoLimits, NameError> {
        RepoLimits::new(&entries.iter().map(|&entry| entry.into()).collect::<Vec<_>>())
    }

    #[test]
    fn limits_are_owners_and_repositories() {
        let some = limits(&["acme", "Other/*", "third/One"]).unwrap();
        for (repository, ignoring, keeping) in [
            ("acme/hello", true, true),
            ("ACME/hello", true, false),
            ("acme-evil/hello", false, false),
            ("acme/x/hello", false, false),
            ("other/x", true, false),
            ("third/One", true, true),
            ("third/one", true, false),
            ("third/two", false, false),
            ("acme", false, false),
        ] {
            let allowed = [RepoCase::Ignore, RepoCase::Keep].map(|case| some.allow(case, repository));
            assert_eq!(allowed, [ignoring, keeping], "{repository}");
        }
        assert_eq!(some.keys(RepoCase::Ignore), ["acme/", "other/", "third/one"]);
        assert!(limits(&[]).unwrap().allow(RepoCase::Keep, "any/thing"));
    }

    #[test]
    fn other_wildcards_are_refused() {
        for entry in ["", "*", "*/*", "acme/web-*", "acme/", "/x", "acme/x/*", "a{b}/*"] {
            assert!(limits(&[entry]).is_err(), "{entry}");
        }
    }
}
