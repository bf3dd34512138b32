//! Names and tags of images. A name is always valid, and the same for the same repository and branch. Two repositories
//! share a name only where the template itself makes them (`a-b/c` and `a/b-c` with `{owner}-{repo}`).

use sha2::{Digest, Sha256};

use super::image::{HUB, ImageRef, NAME_LIMIT, TAG_LIMIT, is_separator, is_tag};

/// Longest base, in characters. The rest of a name is for the template.
const BASE_LIMIT: usize = 150;

/// Number of digits of the hash in a name.
pub(super) const HASH_DIGITS: usize = 8;

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
        let [owner, repo] = [owner, repo].map(str::to_ascii_lowercase);
        let plain = |text: &str| text.replace(|c: char| !is_inner(c) && !"._-".contains(c), "-");
        let filled = self.filled(&plain(&owner), &plain(&repo));
        let mut name = filled.split('/').map(tidied).collect::<Vec<_>>().join("/");
        let room = NAME_LIMIT.saturating_sub(base.len() + 1);
        if name != self.filled(&owner, &repo) || name.len() > room {
            name = with_hash(&name, room, &format!("{owner}/{repo}"));
        }
        format!("{base}/{name}")
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

/// Returns a name of at most `limit` characters that ends with a hash of `whole`.
pub(super) fn with_hash(name: &str, limit: usize, whole: &str) -> String {
    let hash = hex::encode(&Sha256::digest(whole)[..HASH_DIGITS / 2]);
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

    proptest! {
        #[test]
        fn every_name_is_valid(owner in "\\PC{0,60}", repo in "[a-zA-Z._é-]{0,200}", tag in "\\PC{0,200}") {
            for template in ["{owner}-{repo}", "{owner}/{repo}", "x/{repo}.{owner}"] {
                let name = ImageName::parse(template).unwrap().of("docker.io/acme", &owner, &repo);
                let image = ImageRef::parse(&format!("{name}:{}", valid_tag(&tag)));
                prop_assert!(image.is_ok(), "{:?}", image);
            }
        }

        #[test]
        fn two_repositories_have_two_names(one in "[ab._-]{1,4}", other in "[ab._-]{1,4}") {
            let template = ImageName::parse("{owner}-{repo}").unwrap();
            prop_assert!(one == other || template.of("q", "acme", &one) != template.of("q", "acme", &other));
        }
    }
}
