use std::fmt;

/// Why a name from outside is not passed on to Git or to the file system.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {why}")]
pub struct NameError {
    pub what: &'static str,
    pub value: String,
    pub why: &'static str,
}

fn refuse(what: &'static str, value: &str, why: &'static str) -> NameError {
    let value = value.chars().take(200).collect();
    NameError { what, value, why }
}

/// `owner/name` of a repository, each part 1–100 of `A–Z a–z 0–9 . _ -`, not starting with `-` and the owner not with
/// `.`: safe as a path component, inside a URL and in an argument. (`acme/.github` is a usual repository.)
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
}

impl fmt::Display for RepoName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.name)
    }
}

/// The short name of a branch or tag, by the rules of `git check-ref-format` and not starting
/// with `-`.
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
}

impl fmt::Display for GitRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which commit of a branch is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum CommitSpec {
    /// The branch's or tag's own commit.
    Head,
    /// All 40 (or, with SHA-256, 64) hexadecimal digits, lower case.
    Full(String),
    /// 4 to 39 hexadecimal digits, lower case.
    Short(String),
}

impl CommitSpec {
    /// `HEAD` and the empty string mean [`CommitSpec::Head`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text == "HEAD" {
            return Ok(Self::Head);
        }
        if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(refuse("commit", text, "it must be HEAD or hexadecimal digits"));
        }
        match text.len() {
            40 | 64 => Ok(Self::Full(text.to_ascii_lowercase())),
            4..40 => Ok(Self::Short(text.to_ascii_lowercase())),
            _ => Err(refuse("commit", text, "it must have 4 to 40 hexadecimal digits")),
        }
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
        for commit in ["--help", "123", "g123456", "HEAD~1", "HEAD^{tree}"] {
            assert!(CommitSpec::parse(commit).is_err(), "{commit}");
        }
    }

    #[test]
    fn what_people_use_is_accepted() {
        for name in ["develop", "feature/x", "v1.2", "ünïcode", "a-b_c.d", "release/2026.11"] {
            assert!(GitRef::new(name).is_ok(), "{name}");
        }
        assert_eq!(CommitSpec::parse("1234"), Ok(CommitSpec::Short("1234".into())));
        assert_eq!(CommitSpec::parse("HEAD"), Ok(CommitSpec::Head));
        assert!(RepoName::parse("acme/hello.world_1-2").is_ok() && RepoName::parse("acme/.github").is_ok());
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
