use super::value::{List, SettingValue};
use crate::model::RefGlob;

/// Globs over branches; none names all.
#[derive(Debug, Clone, Default)]
pub struct Branches(pub Vec<RefGlob>);

impl SettingValue for Branches {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(tag) = names(text)?.iter().find(|name| name.starts_with(RefGlob::TAGS)) {
            return Err(format!("{tag:?} names Git tags: GIT_TAGS says which of them are built"));
        }
        globs(RefGlob::BRANCHES, text).map(Self)
    }
}

/// Globs over Git tags. `None` is all of them, and the word `none` is an empty list.
#[derive(Debug, Clone, Default)]
pub struct GitTags(pub Option<Vec<RefGlob>>);

impl SettingValue for GitTags {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self(None)),
            "none" => Ok(Self(Some(Vec::new()))),
            _ => globs(RefGlob::TAGS, text).map(|globs| Self(Some(globs))),
        }
    }
}

fn globs(kind: &str, text: &str) -> Result<Vec<RefGlob>, String> {
    names(text)?.iter().map(|name| RefGlob::parse(kind, name)).collect()
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let List(names) = List::parse(text)?;
    match names.is_empty() && !text.trim().is_empty() {
        true => Err("it has no pattern in it: write one such as main, or unset it to build all".into()),
        false => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_refs_are_read() {
        let fits = |branches: &str, git_ref: &str| {
            Branches::parse(branches).unwrap().0.iter().any(|glob| glob.is_match(git_ref))
        };
        assert!(fits("main, release/*", "refs/heads/release/1") && !fits("main", "refs/tags/main"));
        assert!(Branches::parse("").unwrap().0.is_empty());
        assert!(GitTags::parse("").unwrap().0.is_none());
        assert!(GitTags::parse("none").unwrap().0.is_some_and(|globs| globs.is_empty()));
        assert!(GitTags::parse("v*").unwrap().0.is_some_and(|globs| globs[0].is_match("refs/tags/v1")));
        for (text, why) in [(",", "no pattern"), ("a{", "no glob"), ("main,refs/tags/v*", "GIT_TAGS")] {
            let error = Branches::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
