use globset::{GlobBuilder, GlobMatcher};

use super::RepoCase;

/// A glob over `owner/repo`, as ALLOW_REPOS, PRIORITIES and IMAGES_ALLOWED have it. A `*` stays within one part of the
/// name, and a glob without a slash names owners.
#[derive(Debug, Clone)]
pub struct RepoGlob {
    exact: GlobMatcher,
    ignoring_case: GlobMatcher,
}

impl RepoGlob {
    /// # Errors
    /// The text is no glob.
    pub fn new(text: &str) -> Result<Self, globset::Error> {
        let text = if text.contains('/') { text.to_owned() } else { format!("{text}/*") };
        let matcher = |ignoring: bool| {
            let glob = GlobBuilder::new(&text).literal_separator(true).case_insensitive(ignoring).build();
            glob.map(|glob| glob.compile_matcher())
        };
        Ok(Self { exact: matcher(false)?, ignoring_case: matcher(true)? })
    }

    /// Returns true if the repository fits, by the rule of its host.
    pub fn is_match(&self, case: RepoCase, owner: &str, repo: &str) -> bool {
        let matcher = match case {
            RepoCase::Ignore => &self.ignoring_case,
            RepoCase::Keep => &self.exact,
        };
        matcher.is_match(format!("{owner}/{repo}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_names_owners_or_repositories_by_the_rule_of_the_host() {
        for (glob, owner, repo, ignoring, keeping) in [
            ("acme", "acme", "hello", true, true),
            ("Acme", "acme", "hello", true, false),
            ("acme/*", "ACME", "Hello", true, false),
            ("acme/hel*", "acme", "Hello", true, false),
            ("acme/hel*", "acme", "hello", true, true),
            ("acme", "acme-evil", "hello", false, false),
            ("acme/*", "acme/x", "hello", false, false),
            ("*/hello", "other", "hello", true, true),
        ] {
            let parsed = RepoGlob::new(glob).unwrap();
            let matches = [RepoCase::Ignore, RepoCase::Keep].map(|case| parsed.is_match(case, owner, repo));
            assert_eq!(matches, [ignoring, keeping], "{glob} {owner}/{repo}");
        }
        assert!(RepoGlob::new("a{").is_err());
    }
}
