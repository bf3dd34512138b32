//! Names of the further images of a repository, which have another Dockerfile than DOCKERFILE.
//!
//! A Dockerfile's short name (`api` for `services/api/Dockerfile`) is the one that people expect, and several Dockerfiles
//! may have the same. The long name ends with a hash of the path, so no two paths of a repository share it. The store gives
//! a Dockerfile the short name unless another one of the same repository has it already.

use super::naming::{HASH_DIGITS, tidied, with_hash};
use super::options::DockerfilePath;

/// File names of a Dockerfile, in lower case.
const WORDS: [&str; 2] = ["dockerfile", "containerfile"];

/// Folders that are named after Docker and do not name the image, in lower case and without a `.` in front.
const FOLDERS: [&str; 6] = ["docker", "dockerfile", "dockerfiles", "container", "containers", "containerfiles"];

/// Names of a Dockerfile's image, each of them one part of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DockerfileName {
    /// Name that people expect. `None` if a letter had to be changed to make it valid, or if it looks like a long name.
    pub short: Option<String>,
    /// Short name made valid, which the long name begins with.
    pub stem: String,
    /// Text that the long name's hash is made of. No short name begins with a `/`.
    pub hashed: String,
}

impl DockerfileName {
    pub fn of(path: &DockerfilePath) -> Self {
        let readable = readable(path.as_str());
        let stem = tidied(&readable.to_lowercase());
        let is_plain = stem == readable && !looks_long(&stem);
        Self { short: is_plain.then(|| stem.clone()), stem, hashed: format!("/{path}") }
    }

    /// Returns the stem and 8 digits of the hash of the whole path, in at most `limit` characters.
    pub fn long(&self, limit: usize) -> String {
        with_hash(&self.stem, limit, &self.hashed)
    }
}

/// Returns true if a short name could be another Dockerfile's long name.
fn looks_long(name: &str) -> bool {
    let digits = name.rsplit('-').next().unwrap_or_default();
    digits.len() == HASH_DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Returns the text that distinguishes this Dockerfile from others: its folder's name, then the part of its file name
/// beside `Dockerfile`.
fn readable(path: &str) -> String {
    let (folders, file) = path.rsplit_once('/').unwrap_or(("", path));
    let own = own_part(file);
    let is_meaningful = |folder: &&str| !FOLDERS.contains(&&*folder.trim_start_matches('.').to_ascii_lowercase());
    let folder = folders.rsplit('/').filter(|folder| !folder.is_empty()).find(is_meaningful);
    match (folder, own) {
        (Some(folder), "") => folder.into(),
        (Some(folder), own) => format!("{folder}-{own}"),
        (None, "") => folders.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or(WORDS[0]).into(),
        (None, own) => own.into(),
    }
}

/// Returns `web` for `Dockerfile.web`, `web.Dockerfile` and `web`, and nothing for `Dockerfile`.
fn own_part(file: &str) -> &str {
    let lower = file.to_ascii_lowercase();
    for word in WORDS {
        if lower == word {
            return "";
        }
        let is_separator = |c: char| ['.', '-', '_'].contains(&c);
        if let Some(rest) = lower.strip_prefix(word)
            && rest.len() > 1
            && rest.starts_with(is_separator)
        {
            return &file[word.len() + 1..];
        }
        if let Some(rest) = lower.strip_suffix(word)
            && rest.len() > 1
            && rest.ends_with(is_separator)
        {
            return &file[..rest.len() - 1];
        }
    }
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(path: &str) -> DockerfileName {
        DockerfileName::of(&DockerfilePath::new(path).unwrap())
    }

    #[test]
    fn a_short_name_is_the_expected_one() {
        for (path, short) in [
            ("services/api/Dockerfile", "api"),
            ("api/Dockerfile", "api"),
            ("Dockerfile.web", "web"),
            ("web.Dockerfile", "web"),
            ("web.dockerfile", "web"),
            ("Containerfile.web", "web"),
            ("Dockerfile-web", "web"),
            ("web", "web"),
            ("docker/Dockerfile.web", "web"),
            (".docker/web/Dockerfile", "web"),
            ("services/api/docker/Dockerfile", "api"),
            ("services/api/Dockerfile.debug", "api-debug"),
            ("docker/Dockerfile", "docker"),
            ("Dockerfile", "dockerfile"),
            ("Dockerfile.v1.2_x", "v1.2_x"),
        ] {
            assert_eq!(name(path).short.as_deref(), Some(short), "{path}");
        }
    }

    #[test]
    fn a_name_that_had_to_be_changed_is_a_long_one() {
        for (path, long) in [
            ("Dockerfile.Web", "web-6d610c68"),
            ("services/API/Dockerfile", "api-d1543cf2"),
            ("my service/Dockerfile", "my-service-"),
            ("ünï/Dockerfile", "n-"),
            ("日本/Dockerfile", "x-"),
            ("Dockerfile..", "x-"),
            ("a..b/Dockerfile", "a-b-"),
            ("Dockerfile.web-1a2b3c4d", "web-1a2b3c4d-"),
        ] {
            let name = name(path);
            assert_eq!(name.short, None, "{path}");
            assert!(name.long(99).starts_with(long), "{path}: {}", name.long(99));
        }
    }

    fn paths() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[ab.A ü-]{1,3}",
            Just("Dockerfile".to_owned()),
            "Dockerfile[.-][abA]{1,2}",
            "[abA]{1,2}.Dockerfile"
        ];
        prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"))
    }

    proptest! {
        #[test]
        fn two_dockerfiles_never_have_one_long_name(one in paths(), other in paths()) {
            let (Ok(one), Ok(other)) = (DockerfilePath::new(&one), DockerfilePath::new(&other)) else { return Ok(()) };
            let (a, b) = (DockerfileName::of(&one), DockerfileName::of(&other));
            prop_assert!(one == other || a.long(99) != b.long(99), "{one} {other}");
            prop_assert_ne!(a.short, Some(b.long(99)));
        }
    }
}
