use globset::{GlobBuilder, GlobMatcher};

/// A glob over branches, or over tags. A `*` takes slashes, too, as in PRIORITIES.
#[derive(Debug, Clone)]
pub struct RefGlob(GlobMatcher);

impl RefGlob {
    pub const BRANCHES: &str = "refs/heads/";
    pub const TAGS: &str = "refs/tags/";

    /// Reads a glob over the names below `kind`, or over full names if it begins with `refs/`.
    ///
    /// # Errors
    /// The text is empty, or no glob.
    pub fn parse(kind: &str, text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a glob over names of branches or tags must not be empty".into());
        }
        let full = if text.starts_with("refs/") { text.to_owned() } else { format!("{kind}{text}") };
        let glob = GlobBuilder::new(&full).build().map_err(|e| format!("{text:?} is no glob: {}", e.kind()))?;
        Ok(Self(glob.compile_matcher()))
    }

    /// Returns true if the full name of a ref fits.
    pub fn is_match(&self, git_ref: &str) -> bool {
        self.0.is_match(git_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_names_branches_unless_it_is_a_full_name() {
        for (glob, git_ref, fits) in [
            ("main", "refs/heads/main", true),
            ("main", "refs/heads/main2", false),
            ("main", "refs/tags/main", false),
            ("release/*", "refs/heads/release/1/x", true),
            ("*", "refs/heads/a/b", true),
            ("*", "refs/tags/v1", false),
            ("refs/tags/v*", "refs/tags/v1", true),
            ("{main,dev}", "refs/heads/dev", true),
        ] {
            assert_eq!(RefGlob::parse(RefGlob::BRANCHES, glob).unwrap().is_match(git_ref), fits, "{glob} {git_ref}");
        }
        assert!(RefGlob::parse(RefGlob::TAGS, "v*").unwrap().is_match("refs/tags/v1"));
        assert!(RefGlob::parse(RefGlob::TAGS, "").is_err());
        assert_eq!(RefGlob::parse(RefGlob::TAGS, "a{").unwrap_err().split(':').next(), Some("\"a{\" is no glob"));
    }
}
