use globset::{GlobBuilder, GlobMatcher};

use super::RepoCase;

/// A glob over `owner/repo`, as ALLOW_REPOS, PRIORITIES and IMAGES_ALLOWED have it. A `*` stays within one part of the
/// name, and a glob without a slash names owners.
#[derive(Debug, Clone)]
pub struct RepoGlob {
    exact: GlobMatcher,
    ignoring_case: GlobMatcher,
}

/// The reason why a text names no repositories.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepoGlobError {
    #[error("the pattern {0:?} is broken ({1}): write one such as acme/*")]
    Glob(String, globset::ErrorKind),
    #[error("{0:?} fits no repository: write OWNER/REPOSITORY, such as acme/*, or an owner alone")]
    NoRepository(String),
}

impl RepoGlob {
    /// # Errors
    /// The text is no glob, or one that fits no `owner/repo`.
    pub fn new(text: &str) -> Result<Self, RepoGlobError> {
        let whole = if text.contains('/') { text.to_owned() } else { format!("{text}/*") };
        let matcher = |ignoring: bool| {
            let glob = GlobBuilder::new(&whole).literal_separator(true).case_insensitive(ignoring).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|e| RepoGlobError::Glob(text.into(), e.kind().clone()))
        };
        let glob = Self { exact: matcher(false)?, ignoring_case: matcher(true)? };
        // Two stars stand for no part of a name as well as for several.
        let parts: Vec<&str> = whole.split('/').filter(|part| *part != "**").collect();
        let is_possible = |c: char| c.is_ascii_alphanumeric() || "._-*?[]{}!,\\".contains(c);
        match parts.len() <= 2 && parts.iter().all(|part| !part.is_empty() && part.chars().all(is_possible)) {
            true => Ok(glob),
            false => Err(RepoGlobError::NoRepository(text.into())),
        }
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
        assert!(matches!(RepoGlob::new("a{"), Err(RepoGlobError::Glob(..))));
    }

    #[test]
    fn a_glob_that_fits_no_repository_is_refused() {
        for glob in ["acme/*/x", "acme/", "/hello", "", "https://github.com/acme/x", "git@github.com:acme/x", "acme /x"]
        {
            assert_eq!(RepoGlob::new(glob).unwrap_err(), RepoGlobError::NoRepository(glob.into()), "{glob}");
        }
        for glob in ["**", "**/hello", "acme/**", "acme/**/x", "*", "{acme,other}/[a-z]*", "acme/.github"] {
            assert!(RepoGlob::new(glob).is_ok(), "{glob}");
        }
    }
}
