//! Tags that images get beside their jobs' own: a template of a tag, and the condition under which an image gets the tag.
//! The operator writes them into IMAGE_TAGS, and jobs of Conveyor's API have those of Conveyor.

use std::fmt;

use semver::Version;

use super::image::is_tag;
use super::naming::{known_placeholders, valid_tag};
use super::{Latest, RefGlob};

/// Placeholders that a version fills.
const OF_VERSION: [&str; 3] = ["{version}", "{major}", "{minor}"];

/// A tag beside a job's own: `TEMPLATE` or `TEMPLATE@CONDITION`, with `{branch}`, `{sha}`, `{short_sha}` (7 digits), and
/// for Git tags that are versions `{version}`, `{major}` and `{minor}`.
#[derive(Debug, Clone)]
pub struct TagTemplate {
    template: String,
    condition: Option<Condition>,
    /// The whole entry, for messages.
    entry: String,
}

/// Refs whose images get the tag.
#[derive(Debug, Clone)]
enum Condition {
    /// Every commit, also one that is built for no branch. No entry has this condition.
    Always,
    /// `default`: the default branch.
    DefaultBranch,
    /// `version`: the Git tags that are versions and no pre-releases.
    Version,
    Glob(RefGlob),
}

/// The commit that an image is of, as far as tags depend on it.
#[derive(Debug, Clone, Copy)]
pub struct TagSource<'a> {
    /// Full name of the branch or tag that the commit is built for.
    pub git_ref: Option<&'a str>,
    /// Name of the repository's default branch, if it is known.
    pub default_branch: Option<&'a str>,
    /// Full id.
    pub commit: &'a str,
}

impl TagTemplate {
    /// # Errors
    /// The rule that the entry breaks.
    pub fn parse(entry: &str) -> Result<Self, String> {
        let (template, condition) = match entry.split_once('@') {
            Some((template, condition)) => (template, Some(condition)),
            None => (entry, None),
        };
        known_placeholders(template, &["branch", "sha", "short_sha", "version", "major", "minor"])?;
        // A full name may be a tag's, a bare one is a branch's.
        let is_of_branches = condition.is_some_and(|text| {
            text != "version" && (!text.starts_with("refs/") || text.starts_with(RefGlob::BRANCHES))
        });
        let condition = match condition {
            None => None,
            Some("") => return Err(format!("{entry:?} has nothing behind its @: write default, version or a branch")),
            Some("default") => Some(Condition::DefaultBranch),
            Some("version") => Some(Condition::Version),
            Some(glob) => Some(Condition::Glob(RefGlob::parse(RefGlob::BRANCHES, glob)?)),
        };
        let tag = Self { template: template.into(), condition, entry: entry.into() };
        if tag.needs_version() && is_of_branches {
            return Err(format!("{entry:?} never makes a tag: a version is a Git tag, and its @ names branches"));
        }
        match is_tag(&tag.filled("b", "0123456", Some(&Version::new(1, 2, 3)))) {
            true => Ok(tag),
            false => Err(format!(
                "{entry:?} makes no tag: around its placeholders it may have letters, digits, '_', '.' and '-', and \
                 neither '.' nor '-' at its beginning"
            )),
        }
    }

    /// Returns the tags of Conveyor beside the commit's id: that of the branch, and `latest`.
    pub fn of_conveyor(latest: Latest) -> Vec<Self> {
        let tag = |template: &str, condition: Option<Condition>, entry: &str| Self {
            template: template.into(),
            condition,
            entry: entry.into(),
        };
        let latest = match latest {
            Latest::Default => tag("latest", Some(Condition::DefaultBranch), "latest@default"),
            Latest::Always => tag("latest", Some(Condition::Always), "latest"),
        };
        vec![tag("{branch}", None, "{branch}"), latest]
    }

    /// Returns the tag for a commit, or `None` if the condition excludes the commit, or if the template needs a version
    /// and the commit is not built for one.
    pub fn of(&self, source: TagSource) -> Option<String> {
        let TagSource { git_ref, default_branch, commit } = source;
        let version = git_ref.and_then(version_of);
        let is_wanted = match (&self.condition, git_ref) {
            (None, Some(_)) | (Some(Condition::Always), _) => true,
            // A tag that names a branch would say what that branch has, so a commit of no branch gets none.
            (None, None) => self.names_commit() && !self.template.contains("{branch}"),
            (Some(_), None) => false,
            (Some(Condition::DefaultBranch), Some(git_ref)) => {
                git_ref.strip_prefix(RefGlob::BRANCHES) == Some(default_branch?)
            }
            (Some(Condition::Version), Some(_)) => version.as_ref().is_some_and(|version| version.pre.is_empty()),
            (Some(Condition::Glob(glob)), Some(git_ref)) => glob.is_match(git_ref),
        };
        // A pre-release comes before its version, so it must not take the tag of all versions that begin alike.
        let lacks_version = self.needs_version()
            && version.as_ref().is_none_or(|version| !self.template.contains("{version}") && !version.pre.is_empty());
        if !is_wanted || lacks_version {
            return None;
        }
        let branch = git_ref.map(super::bare_name).unwrap_or_default();
        Some(valid_tag(&self.filled(branch, commit, version.as_ref())))
    }

    /// Returns true if no two commits get the same tag from this template.
    pub fn names_commit(&self) -> bool {
        self.template.contains("{sha}") || self.template.contains("{short_sha}")
    }

    /// Returns true if the tag depends on which branch is the default one.
    pub fn needs_default_branch(&self) -> bool {
        matches!(self.condition, Some(Condition::DefaultBranch))
    }

    /// Returns true if versions alone get the tag, so that it goes to the greatest of them.
    pub fn is_of_versions(&self) -> bool {
        self.needs_version() || matches!(self.condition, Some(Condition::Version))
    }

    fn needs_version(&self) -> bool {
        OF_VERSION.iter().any(|placeholder| self.template.contains(placeholder))
    }

    fn filled(&self, branch: &str, sha: &str, version: Option<&Version>) -> String {
        let short = sha.get(..7).unwrap_or(sha);
        let mut filled = self.template.replace("{short_sha}", short).replace("{sha}", sha);
        if let Some(version) = version {
            let parts = [version.to_string(), version.major.to_string(), version.minor.to_string()];
            for (placeholder, part) in OF_VERSION.iter().zip(parts) {
                filled = filled.replace(placeholder, &part);
            }
        }
        // A branch's name comes last, because it may look like a placeholder.
        filled.replace("{branch}", branch)
    }
}

impl fmt::Display for TagTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entry)
    }
}

/// Returns the version that a Git tag names, by Semantic Versioning, with or without a `v` in front; `None` for another
/// ref.
pub fn version_of(git_ref: &str) -> Option<Version> {
    let name = git_ref.strip_prefix(RefGlob::TAGS)?;
    Version::parse(name.strip_prefix('v').unwrap_or(name)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn tag(entry: &str, git_ref: &str) -> Option<String> {
        let source = TagSource { git_ref: Some(git_ref), default_branch: Some("main"), commit: COMMIT };
        TagTemplate::parse(entry).unwrap().of(source)
    }

    #[test]
    fn a_condition_decides_who_gets_the_tag() {
        for (entry, git_ref, expected) in [
            ("latest", "refs/heads/wip", Some("latest")),
            ("latest@default", "refs/heads/main", Some("latest")),
            ("latest@default", "refs/heads/wip", None),
            ("latest@default", "refs/tags/main", None),
            ("{branch}@main", "refs/heads/main", Some("main")),
            ("{branch}@main", "refs/heads/maintenance", None),
            ("{branch}@release/*", "refs/heads/release/1.2", Some("release-1.2")),
            ("{short_sha}@{main,dev}", "refs/heads/dev", Some("0123456")),
            ("newest@refs/tags/v*", "refs/tags/v1", Some("newest")),
            ("latest@version", "refs/tags/v1.2.3", Some("latest")),
            ("latest@version", "refs/tags/v1.2.3-rc.1", None),
            ("latest@version", "refs/heads/v1.2.3", None),
        ] {
            assert_eq!(tag(entry, git_ref).as_deref(), expected, "{entry} {git_ref}");
        }
        let of = |entry: &str, git_ref, default_branch| {
            TagTemplate::parse(entry).unwrap().of(TagSource { git_ref, default_branch, commit: COMMIT })
        };
        assert_eq!(of("latest@default", Some("refs/heads/main"), None), None);
        assert_eq!(of("latest@default", None, Some("main")), None);
        assert_eq!(of("{sha}@main", None, None), None);
        assert_eq!(of("{sha}", None, None).as_deref(), Some(COMMIT));
        assert_eq!(of("v-{short_sha}", None, None).as_deref(), Some("v-0123456"));
        for entry in ["latest", "{branch}", "{branch}-{sha}", "{version}"] {
            assert_eq!(of(entry, None, None), None, "{entry}");
        }
    }

    #[test]
    fn conveyors_tags_are_the_branch_and_latest() {
        let tags = |latest, git_ref| {
            let source = TagSource { git_ref, default_branch: Some("main"), commit: COMMIT };
            TagTemplate::of_conveyor(latest).iter().filter_map(|tag| tag.of(source)).collect::<Vec<_>>()
        };
        for (git_ref, by_default, always) in [
            (Some("refs/heads/main"), &["main", "latest"][..], &["main", "latest"][..]),
            (Some("refs/heads/feature/x"), &["feature-x"], &["feature-x", "latest"]),
            (Some("refs/tags/v1"), &["v1"], &["v1", "latest"]),
            (None, &[], &["latest"]),
        ] {
            assert_eq!(tags(Latest::Default, git_ref), by_default, "{git_ref:?}");
            assert_eq!(tags(Latest::Always, git_ref), always, "{git_ref:?}");
        }
    }

    #[test]
    fn a_version_is_a_git_tag() {
        for (entry, name, expected) in [
            ("{version}", "v1.2.3", Some("1.2.3")),
            ("{version}", "1.2.3", Some("1.2.3")),
            ("{version}", "v1.2.3-rc.1", Some("1.2.3-rc.1")),
            ("{version}", "v1.2.3+build.7", Some("1.2.3-build.7")),
            ("{major}.{minor}", "v1.2.3", Some("1.2")),
            ("{major}.{minor}", "v1.2.3-rc.1", None),
            ("{major}", "v12.0.1", Some("12")),
            ("v{major}-{version}", "v1.2.3-rc.1", Some("v1-1.2.3-rc.1")),
            ("{version}", "v1.2", None),
            ("{version}", "V1.2.3", None),
            ("{version}", "vv1.2.3", None),
            ("{version}", "01.2.3", None),
            ("{version}", "release-1.2.3", None),
        ] {
            assert_eq!(tag(entry, &format!("refs/tags/{name}")).as_deref(), expected, "{entry} {name}");
            assert_eq!(tag(entry, &format!("refs/heads/{name}")), None, "{entry} {name}");
        }
    }

    #[test]
    fn an_entry_that_makes_no_tag_is_named() {
        let wrong = |entry: &str| TagTemplate::parse(entry).unwrap_err();
        let known = "{branch}, {sha}, {short_sha}, {version}, {major}, {minor}";
        assert_eq!(wrong("{tag}"), format!("\"{{tag}}\" is no placeholder; those are {known}"));
        for entry in ["-{sha}", "a/{branch}", "a b", "", "@main", &"x".repeat(129)] {
            assert!(wrong(entry).contains("makes no tag"), "{entry}");
        }
        assert!(wrong("latest@").contains("nothing behind its @"));
        assert!(wrong("latest@a{").contains("is no glob"));
        for entry in ["{version}@main", "{major}@default"] {
            assert!(wrong(entry).contains("never makes a tag"), "{entry}");
        }
        for entry in ["{version}@version", "{version}@refs/tags/v*", "{branch}@version"] {
            assert!(TagTemplate::parse(entry).is_ok(), "{entry}");
        }
    }

    #[test]
    fn what_a_branch_is_called_is_no_placeholder() {
        assert_eq!(tag("{branch}", "refs/heads/feature/{sha}").as_deref(), Some("feature-sha"));
        assert_eq!(tag("b-{branch}.{short_sha}", "refs/heads/{version}").as_deref(), Some("b--version-.0123456"));
    }
}
