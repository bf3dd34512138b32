use std::fmt;

use super::RepoCase;

/// The reason why a name from outside is not passed on to Git or to the file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {why}")]
pub struct NameError {
    pub what: &'static str,
    pub value: String,
    pub why: &'static str,
}

pub(super) fn refuse(what: &'static str, value: &str, why: &'static str) -> NameError {
    let value = value.chars().take(200).collect();
    NameError { what, value, why }
}

/// `owner/name` of a repository. Each part has 1 to 100 of `A–Z a–z 0–9 . _ -` and does not start with `-`, the owner does
/// not start with `.` either, so that both are safe as a path component, inside a URL and in an argument.
/// (`acme/.github` is a usual repository.)
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RepoName {
    owner: String,
    name: String,
}

impl RepoName {
    pub fn new(owner: &str, name: &str) -> Result<Self, NameError> {
        for (what, part) in [("owner", owner), ("repository", name)] {
            if part.is_empty() || part.len() > 100 {
                return Err(refuse(what, part, "it must have 1 to 100 characters"));
            }
            if part.starts_with('-') || (what == "owner" && part.starts_with('.')) || matches!(part, "." | "..") {
                return Err(refuse(
                    what,
                    part,
                    "it must not start with '-', nor an owner with '.', nor be '.' or '..'",
                ));
            }
            if !part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                return Err(refuse(what, part, "only letters, digits, '.', '_' and '-' are allowed"));
            }
        }
        Ok(Self { owner: owner.into(), name: name.into() })
    }

    /// Reads `owner/name`.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        match text.split_once('/') {
            Some((owner, name)) => Self::new(owner, name),
            None => Err(refuse("repository", text, "it must be OWNER/NAME")),
        }
    }

    pub fn owner(&self) -> &str {
        &self.owner
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the identity of the repository: two spellings of one repository have the same key.
    pub fn key(&self, case: RepoCase) -> String {
        case.key(&self.to_string())
    }
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// Prefixes of branches and tags, in the order in which a bare name is looked up.
const KINDS: [&str; 2] = ["refs/heads/", "refs/tags/"];

/// Name of a branch or tag, bare (`v1`) or in full (`refs/tags/v1`), by the rules of `git check-ref-format`. It does not
/// start with `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct GitRef(String);

impl GitRef {
    pub fn new(name: &str) -> Result<Self, NameError> {
        let bad = |why| Err(refuse("branch", name, why));
        if name.is_empty() || name.len() > 1000 {
            return bad("it must have 1 to 1000 characters");
        }
        if name.starts_with('-') {
            return bad("it must not start with '-'");
        }
        if name == "@" || name.contains("@{") || name.contains("..") || name.ends_with('.') {
            return bad("it must not be '@', contain '@{' or '..', or end with '.'");
        }
        if name.chars().any(|c| c.is_ascii_control() || " ~^:?*[\\".contains(c)) {
            return bad("it contains a character that Git does not allow");
        }
        if name.split('/').any(|p| p.is_empty() || p.starts_with('.') || p.ends_with(".lock")) {
            return bad("no part may be empty, start with '.' or end with '.lock'");
        }
        Ok(Self(name.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the refs that the name can stand for, the preferred one first: a bare name is a branch, else a tag.
    pub fn full_names(&self) -> Vec<String> {
        match is_branch_or_tag(&self.0) {
            true => vec![self.0.clone()],
            false => KINDS.iter().map(|kind| format!("{kind}{}", self.0)).collect(),
        }
    }
}

/// Returns true for the full name of a branch or of a tag.
pub fn is_branch_or_tag(name: &str) -> bool {
    KINDS.iter().any(|kind| name.starts_with(kind))
}

/// Returns the bare name of a branch or tag that is named in full, and any other name unchanged.
pub fn bare_name(name: &str) -> &str {
    KINDS.iter().find_map(|kind| name.strip_prefix(kind)).unwrap_or(name)
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attacks_are_refused() {
        for name in
            ["-h", "--upload-pack=x", "a..b", "a b", "@", "x@{1}", "a//b", "/a", "a/", ".a", "a.lock", "a:b", ""]
        {
            assert!(GitRef::new(name).is_err(), "{name}");
        }
        for (owner, repo) in [
            ("-o", "r"),
            (".o", "r"),
            ("..", "r"),
            ("o", ".."),
            ("o", "."),
            ("o", "-r"),
            ("o", "../r"),
            ("", "r"),
            ("o", "r%0a"),
            ("o", "r\n"),
        ] {
            assert!(RepoName::new(owner, repo).is_err(), "{owner}/{repo}");
        }
    }

    #[test]
    fn usual_names_are_accepted() {
        for name in ["develop", "feature/x", "v1.2", "ünïcode", "a-b_c.d", "release/2026.11"] {
            assert!(GitRef::new(name).is_ok(), "{name}");
        }
        assert!(RepoName::parse("acme/hello.world_1-2").is_ok() && RepoName::parse("acme/.github").is_ok());
    }

    #[test]
    fn a_name_in_full_is_one_ref_and_a_bare_name_may_be_two() {
        let names = |name: &str| GitRef::new(name).unwrap().full_names();
        assert_eq!(names("v1"), ["refs/heads/v1", "refs/tags/v1"]);
        assert_eq!(names("refs/tags/v1"), ["refs/tags/v1"]);
        assert_eq!(names("refs/heads/a/b"), ["refs/heads/a/b"]);
        assert_eq!(names("refs/pull/1/head"), ["refs/heads/refs/pull/1/head", "refs/tags/refs/pull/1/head"]);
        assert_eq!(["refs/tags/v1", "refs/heads/a/b", "v1"].map(bare_name), ["v1", "a/b", "v1"]);
    }

    proptest! {
        #[test]
        fn an_accepted_ref_is_never_an_option_nor_a_range(name in "\\PC{0,40}") {
            if let Ok(name) = GitRef::new(&name) {
                prop_assert!(!name.as_str().starts_with('-'));
                prop_assert!(!name.as_str().contains("..") && !name.as_str().contains(':'));
            }
        }
    }
}
