use crate::model::{RefGlob, SkipReason, has_skip_words};

/// The pushes that are built. Requests by API are built whatever this says, because a person asked for them.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// BRANCHES; none selects every branch.
    pub branches: Vec<RefGlob>,
    /// GIT_TAGS; `None` selects every tag.
    pub tags: Option<Vec<RefGlob>>,
    /// SKIP_WORDS
    pub skip_words: bool,
    /// BUILD_FORKS=0
    pub no_forks: bool,
}

impl Selection {
    /// Returns why a push of this ref is not built. Words in a message skip branches alone, because a release's tag often
    /// names a commit whose message has them.
    pub fn skips(&self, git_ref: &str, message: Option<&str>) -> Option<SkipReason> {
        let names = |globs: &[RefGlob]| globs.iter().any(|glob| glob.is_match(git_ref));
        if git_ref.starts_with(RefGlob::TAGS) {
            return self.tags.as_ref().filter(|tags| !names(tags)).map(|_| SkipReason::GitTags);
        }
        if !self.branches.is_empty() && !names(&self.branches) {
            return Some(SkipReason::Branches);
        }
        (self.skip_words && message.is_some_and(has_skip_words)).then_some(SkipReason::SkipWords)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_is_skipped_for_its_ref_or_its_message() {
        let globs =
            |kind, globs: &[&str]| globs.iter().map(|glob| RefGlob::parse(kind, glob).unwrap()).collect::<Vec<_>>();
        let all = Selection::default();
        let selected = Selection {
            branches: globs(RefGlob::BRANCHES, &["main", "release/*"]),
            tags: Some(globs(RefGlob::TAGS, &["v*"])),
            skip_words: true,
            no_forks: false,
        };
        let no_tags = Selection { tags: Some(Vec::new()), ..Selection::default() };
        for (selection, git_ref, message, expected) in [
            (&all, "refs/heads/wip", Some("[skip ci]"), None),
            (&all, "refs/tags/x", None, None),
            (&selected, "refs/heads/main", None, None),
            (&selected, "refs/heads/release/1.2", Some("Fix"), None),
            (&selected, "refs/heads/main", Some("Fix [skip ci]"), Some(SkipReason::SkipWords)),
            (&selected, "refs/heads/wip", Some("[skip ci]"), Some(SkipReason::Branches)),
            (&selected, "refs/pull/1/head", None, Some(SkipReason::Branches)),
            (&selected, "refs/tags/v1", Some("[skip ci]"), None),
            (&selected, "refs/tags/main", None, Some(SkipReason::GitTags)),
            (&no_tags, "refs/tags/v1", None, Some(SkipReason::GitTags)),
            (&no_tags, "refs/heads/wip", None, None),
        ] {
            assert_eq!(selection.skips(git_ref, message), expected, "{git_ref} {message:?}");
        }
    }
}
