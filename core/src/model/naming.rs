//! Names and tags of images. A name is always valid, and the same for the same repository and branch. Two repositories
//! share a name where the template itself makes them (`a-b/c` and `a/b-c` with `{owner}-{repo}`). Where a hash in one of the
//! names does (`acme/hello-` and `acme/hello-eee1f5b8`), the store tells who had the name first.

use std::ops::RangeInclusive;

use sha2::{Digest, Sha256};

use super::image::{HUB, ImageRef, NAME_LIMIT, TAG_LIMIT, is_separator, is_tag};

/// Longest base, in characters. The rest of a name is for the template.
const BASE_LIMIT: usize = 150;

/// Number of digits of the hash in a name.
pub(super) const HASH_DIGITS: usize = 8;

/// Number of digits of the hash in another name.
const LONG_HASH_DIGITS: usize = 16;

/// Template of an image's name below its base, such as `{owner}-{repo}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName(String);

impl ImageName {
    /// # Errors
    /// The rule that the template breaks.
    pub fn parse(template: &str) -> Result<Self, String> {
        known_placeholders(template, &["owner", "repo"])?;
        if !template.contains("{repo}") {
            return Err("it must have {repo} in it, so that two repositories are two images".into());
        }
        let name = Self(template.into());
        let sample = name.filled("o", "r");
        match sample.split('/').all(|part| tidied(part) == part) && sample.len() < NAME_LIMIT - BASE_LIMIT {
            true => Ok(name),
            false => Err("around {owner} and {repo} it may have lower-case letters, digits, '/', and between them \
                          one '.', one or two '_', or '-'"
                .into()),
        }
    }

    /// Returns `{base}/` and the name of this repository's image, in lower case. If more had to be changed to make the name
    /// valid, it ends with 8 hexadecimal digits of the SHA-256 of `owner/repo`, so that another repository has another
    /// name.
    pub fn of(&self, base: &str, owner: &str, repo: &str) -> String {
        let FilledName { name, is_whole, room, repository } = self.fill(base, owner, repo);
        let name = if is_whole { name } else { with_hash(&name, room, &repository) };
        format!("{base}/{name}")
    }

    /// Returns true if the name of this repository needs no hash.
    pub fn is_plain(&self, base: &str, owner: &str, repo: &str) -> bool {
        self.fill(base, owner, repo).is_whole
    }

    /// Returns another name for a repository whose first one another repository has: it ends with 16 digits of a hash of
    /// `owner/repo` and of `number`.
    pub fn other(&self, base: &str, owner: &str, repo: &str, number: u32) -> String {
        let FilledName { name, room, repository, .. } = self.fill(base, owner, repo);
        format!("{base}/{}", with_long_hash(&name, room, &format!("{number}\n{repository}")))
    }

    fn fill(&self, base: &str, owner: &str, repo: &str) -> FilledName {
        let [owner, repo] = [owner, repo].map(str::to_ascii_lowercase);
        let plain = |text: &str| text.replace(|c: char| !is_inner(c) && !"._-".contains(c), "-");
        let filled = self.filled(&plain(&owner), &plain(&repo));
        let name = filled.split('/').map(tidied).collect::<Vec<_>>().join("/");
        let room = NAME_LIMIT.saturating_sub(base.len() + 1);
        let is_whole = name == self.filled(&owner, &repo) && name.len() <= room;
        FilledName { name, is_whole, room, repository: format!("{owner}/{repo}") }
    }

    /// Checks that images can be pushed below this base.
    ///
    /// # Errors
    /// The rule that the base breaks.
    pub fn check_base(&self, base: &str) -> Result<(), String> {
        if base.contains("://") {
            return Err("it begins with the registry's host, without a scheme: quay.io/totem".into());
        }
        if base.len() > BASE_LIMIT {
            return Err(format!("it is longer than {BASE_LIMIT} characters"));
        }
        let image = ImageRef::parse(&format!("{base}/{}:x", self.filled("o", "r"))).map_err(|e| e.why.to_owned())?;
        match image.registry() == HUB && image.repository().starts_with("library/") {
            true => Err("Docker Hub takes no pushes without an account: docker.io/ACCOUNT".into()),
            false => Ok(()),
        }
    }

    fn filled(&self, owner: &str, repo: &str) -> String {
        // The texts from outside are put in last, because they may look like a placeholder.
        self.0.split("{owner}").map(|part| part.replace("{repo}", repo)).collect::<Vec<_>>().join(owner)
    }
}

/// A template that is filled in for a repository.
struct FilledName {
    /// Valid name, which may be too long.
    name: String,
    /// True if nothing was changed or is to be cut off, so that no other repository has the name but by the template.
    is_whole: bool,
    /// Longest name in characters.
    room: usize,
    /// `owner/repo` in lower case.
    repository: String,
}

/// Returns true for a name that ends as names with a hash do, so that two repositories can get it.
pub fn is_contestable(name: &str) -> bool {
    let is_hash = |digits: &str| {
        matches!(digits.len(), HASH_DIGITS | LONG_HASH_DIGITS)
            && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    };
    name.rsplit_once('-').is_some_and(|(_, end)| is_hash(end))
}

/// Returns `text` if it is a tag, else a tag made of it: `feature/x` → `feature-x`. The tag is predictable rather than
/// unique: branches that differ only in such characters share it. Where a letter outside ASCII is lost, or the end beyond
/// 128 characters, the tag ends with 8 hexadecimal digits of the SHA-256 of `text`.
pub fn valid_tag(text: &str) -> String {
    if is_tag(text) {
        return text.into();
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let parts: Vec<&str> = text.split(|c| !allowed(c)).filter(|part| !part.is_empty()).collect();
    let joined = parts.join("-");
    let tag = joined.trim_matches(['.', '-']);
    match text.is_ascii() && is_tag(tag) {
        true => tag.into(),
        false => with_hash(tag, TAG_LIMIT, text),
    }
}

/// Returns this tag with 8 hexadecimal digits of the SHA-256 of `whole` at its end.
pub fn hashed_tag(tag: &str, whole: &str) -> String {
    with_hash(tag, TAG_LIMIT, whole)
}

/// Returns true for a tag that reads like the beginning of a commit's id: 4 to 64 hexadecimal digits. Decimal numbers of
/// fewer than 7 digits, as of builds, and dates (`20261129`, also with hours, minutes and seconds behind it) are none.
pub fn reads_as_id(tag: &str) -> bool {
    let is_number = tag.bytes().all(|b| b.is_ascii_digit());
    let is_id = matches!(tag.len(), 4..=64) && tag.bytes().all(|b| b.is_ascii_hexdigit());
    is_id && !(is_number && (tag.len() < 7 || is_date(tag)))
}

/// Returns true for `YYYYMMDD`, `YYYYMMDDhh`, `YYYYMMDDhhmm` and `YYYYMMDDhhmmss` from 1970 to 2099.
fn is_date(digits: &str) -> bool {
    let part = |at: usize| digits.get(at..at + 2).map_or(Some(0), |part| part.parse::<u8>().ok());
    let is_within = |at: usize, range: RangeInclusive<u8>| part(at).is_some_and(|part| range.contains(&part));
    matches!(digits.len(), 8 | 10 | 12 | 14)
        && (digits.starts_with("20") || (digits.starts_with("19") && is_within(2, 70..=99)))
        && is_within(4, 1..=12)
        && is_within(6, 1..=31)
        && [(8, 23), (10, 59), (12, 60)].into_iter().all(|(at, last)| is_within(at, 0..=last))
}

/// Returns a name of at most `limit` characters that ends with a hash of `whole`.
pub(super) fn with_hash(name: &str, limit: usize, whole: &str) -> String {
    with_digits(name, limit, whole, HASH_DIGITS)
}

/// Returns the same with 16 digits.
pub(super) fn with_long_hash(name: &str, limit: usize, whole: &str) -> String {
    with_digits(name, limit, whole, LONG_HASH_DIGITS)
}

fn with_digits(name: &str, limit: usize, whole: &str, digits: usize) -> String {
    let hash = hex::encode(&Sha256::digest(whole)[..digits / 2]);
    let end = name.len().min(limit.saturating_sub(hash.len() + 1));
    match name[..end].trim_end_matches(|c: char| !c.is_ascii_alphanumeric()) {
        "" => hash,
        name => format!("{name}-{hash}"),
    }
}

fn is_inner(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

/// Makes one component of a name valid: runs that are no separator become `-`, and separators at the ends are dropped.
pub(super) fn tidied(part: &str) -> String {
    let (mut name, mut run) = (String::new(), String::new());
    for c in part.chars() {
        if !is_inner(c) {
            run.push(c);
            continue;
        }
        if !name.is_empty() && !run.is_empty() {
            name += if is_separator(&run) { &run } else { "-" };
        }
        run.clear();
        name.push(c);
    }
    if name.is_empty() { "x".into() } else { name }
}

/// Checks that every `{…}` is one of these names.
pub(super) fn known_placeholders(template: &str, known: &[&str]) -> Result<(), String> {
    let mut rest = known.iter().fold(template.to_owned(), |rest, name| rest.replace(&format!("{{{name}}}"), ""));
    let Some(begin) = rest.find(['{', '}']) else { return Ok(()) };
    let unknown = rest.split_off(begin);
    let end = unknown.find('}').map_or(unknown.len(), |end| end + 1);
    let known: Vec<String> = known.iter().map(|name| format!("{{{name}}}")).collect();
    Err(format!("{:?} is no placeholder; those are {}", &unknown[..end], known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(template: &str, owner: &str, repo: &str) -> String {
        ImageName::parse(template).unwrap().of("q.io/t", owner, repo).strip_prefix("q.io/t/").unwrap().into()
    }

    #[test]
    fn a_repository_has_one_valid_name() {
        for (owner, repo, expected) in [
            ("acme", "hello", "acme-hello"),
            ("Acme", "Hello", "acme-hello"),
            ("a-b", "c", "a-b-c"),
            ("a", "b-c", "a-b-c"),
            ("acme", "hello.world_1__2---3", "acme-hello.world_1__2---3"),
            ("legacy-", "x", "legacy--x"),
            ("acme", "github", "acme-github"),
            ("acme", ".github", "acme-github-0785d4d7"),
            ("acme", "hello-", "acme-hello-eee1f5b8"),
            ("acme", "a..b", "acme-a-b-9d2eccf6"),
            ("acme", "a._b", "acme-a-b-82fa75f2"),
            ("acme", "___", "acme-9c9019d2"),
            ("acme", "ünïcode", "acme--n-code-6f4594b4"),
            ("a/b", "{owner}", "a-b--owner-7133f1ba"),
            ("", "", "x-8a5edab2"),
        ] {
            assert_eq!(name("{owner}-{repo}", owner, repo), expected, "{owner}/{repo}");
        }
        assert_eq!(name("{repo}", "acme", "Hello"), "hello");
        assert_eq!(name("img/{owner}/{repo}.x", "A", "b"), "img/a/b.x");
        let long = name("{owner}-{repo}", &"o".repeat(100), &"r".repeat(400));
        assert_eq!("q.io/t/".len() + long.len(), 255);
    }

    #[test]
    fn templates_are_checked() {
        let wrong = |template| ImageName::parse(template).unwrap_err();
        assert_eq!(wrong("{owner}-{name}"), "\"{name}\" is no placeholder; those are {owner}, {repo}");
        assert_eq!(wrong("{repo}-{owner"), "\"{owner\" is no placeholder; those are {owner}, {repo}");
        assert!(wrong("{owner}").contains("it must have {repo}"));
        for template in ["Img-{repo}", "{owner}._{repo}", "/{repo}", "{repo}/", "-{repo}", "{owner}//{repo}", "é{repo}"]
        {
            assert!(wrong(template).contains("lower-case letters"), "{template}");
        }
    }

    #[test]
    fn a_base_takes_pushes_or_says_why_not() {
        let check = |template: &str, base: &str| ImageName::parse(template).unwrap().check_base(base);
        for base in ["quay.io/totem", "127.0.0.1:5000", "127.0.0.1:5000/a/b/c", "docker.io/acme", "acme", "localhost"] {
            assert_eq!(check("{owner}-{repo}", base), Ok(()), "{base}");
        }
        assert_eq!(check("{owner}/{repo}", "docker.io"), Ok(()));
        for (base, why) in [
            ("https://quay.io/totem", "without a scheme"),
            ("docker.io", "docker.io/ACCOUNT"),
            ("index.docker.io", "docker.io/ACCOUNT"),
            ("quay.io/Totem", "lower-case"),
            ("quay.io/totem/", "each part"),
            ("quay.io/totem:v1", "each part"),
            ("-q.io/x", "host is not valid"),
            ("", "each part"),
        ] {
            let error = check("{owner}-{repo}", base).unwrap_err();
            assert!(error.contains(why), "{base}: {error}");
        }
        assert!(check("{repo}", &format!("q.io/{}", "x".repeat(200))).unwrap_err().contains("150"));
    }

    #[test]
    fn a_branch_becomes_a_tag() {
        for (branch, tag) in [
            ("develop", "develop"),
            ("feature/x", "feature-x"),
            ("feature-x", "feature-x"),
            ("fix#12@home", "fix-12-home"),
            ("v1.2+build.7", "v1.2-build.7"),
            ("a//-b", "a--b"),
            ("_x-", "_x-"),
            ("Release/2026.11", "Release-2026.11"),
            (".x", "x"),
            ("x/", "x"),
            ("fix-ü", "fix-ee55f0ad"),
            ("日本", "cf2abf0c"),
            ("#", "334359b9"),
        ] {
            assert_eq!(valid_tag(branch), tag, "{branch}");
        }
        let cut = valid_tag(&"x".repeat(200));
        assert!(cut.len() == 128 && cut != valid_tag(&"x".repeat(201)), "{cut}");
    }

    #[test]
    fn a_number_of_a_build_and_a_date_are_no_ids() {
        for tag in [
            "abcd",
            "feed1",
            "1a2b3c4",
            "1234567",
            "ABCDEF0",
            &"1".repeat(40),
            &"a1".repeat(32),
            &"a".repeat(41),
            "20261329",
        ] {
            assert!(reads_as_id(tag), "{tag}");
        }
        let dates = ["20261129", "2026112923", "202611292359", "20261129235959", "19991231"];
        let others = ["abc", "1234", "104523", "v1a2b3c4", "1.2", "feature", &"a".repeat(65)];
        for tag in dates.iter().chain(&others) {
            assert!(!reads_as_id(tag), "{tag}");
        }
    }

    proptest! {
        #[test]
        fn every_name_is_valid(owner in "\\PC{0,60}", repo in "[a-zA-Z._é-]{0,200}", tag in "\\PC{0,200}") {
            for template in ["{owner}-{repo}", "{owner}/{repo}", "x/{repo}.{owner}"] {
                let name = ImageName::parse(template).unwrap().of("docker.io/acme", &owner, &repo);
                let image = ImageRef::parse(&format!("{name}:{}", valid_tag(&tag)));
                prop_assert!(image.is_ok(), "{:?}", image);
            }
        }

        /// Two repositories have two names, but for those that the template brings together, and those that the store tells
        /// apart. Their other names differ always.
        #[test]
        fn two_repositories_have_two_names(
            one in ("[ab-]{1,3}", "[ab._-]{1,4}(-eee1f5b8)?"), other in ("[ab-]{1,3}", "[ab._-]{1,4}(-eee1f5b8)?"),
            template in 0..3usize,
        ) {
            let template = ImageName::parse(["{owner}-{repo}", "{owner}/{repo}", "x/{repo}.{owner}"][template]).unwrap();
            let name = |(owner, repo): &(String, String)| template.of("q", owner, repo);
            let is_plain = |(owner, repo): &(String, String)| template.is_plain("q", owner, repo);
            if one != other && name(&one) == name(&other) {
                prop_assert!((is_plain(&one) && is_plain(&other)) || is_contestable(&name(&one)));
            }
            let others = |(owner, repo): &(String, String)| [0, 1].map(|number| template.other("q", owner, repo, number));
            let ([a, b], [c, d]) = (others(&one), others(&other));
            prop_assert!(a != b && is_contestable(&a) && (one == other || (a != c && b != d)));
        }
    }
}
