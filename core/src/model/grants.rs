use globset::{GlobBuilder, GlobMatcher};

use super::image::ImageRef;
use super::{RepoCase, RepoGlob};

/// Images that a repository may name beside those below its own name, and those that a Dockerfile without a repository may
/// have (IMAGES_ALLOWED).
#[derive(Debug, Clone, Default)]
pub struct ImageGrants(Vec<Grant>);

/// The word for Dockerfiles without a repository.
const INLINE: &str = "generator";

#[derive(Debug, Clone)]
struct Grant {
    /// `None` for Dockerfiles without a repository.
    repository: Option<RepoGlob>,
    image: GlobMatcher,
}

impl ImageGrants {
    /// Reads `repository=image` pairs: a [`RepoGlob`], and a glob over the image's name, in which case does not matter. A
    /// `*` stays within one part of a name, `**` goes across parts. The word `generator` in the place of a repository
    /// stands for the Dockerfiles that come without one; an owner of that name is written `generator/*`.
    ///
    /// # Errors
    /// The pair that cannot be read, and why.
    pub fn parse<'a>(pairs: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        pairs.into_iter().map(Grant::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Returns true if a grant lets this repository push to the image.
    pub fn allow(&self, case: RepoCase, owner: &str, repo: &str, image: &ImageRef) -> bool {
        let image = image.canonical();
        let is_for = |grant: &Grant| grant.repository.as_ref().is_some_and(|glob| glob.is_match(case, owner, repo));
        self.0.iter().any(|grant| is_for(grant) && grant.image.is_match(&image))
    }

    /// Returns true if a grant lets a Dockerfile without a repository become this image.
    pub fn allow_inline(&self, image: &ImageRef) -> bool {
        let image = image.canonical();
        self.0.iter().any(|grant| grant.repository.is_none() && grant.image.is_match(&image))
    }
}

impl Grant {
    fn parse(pair: &str) -> Result<Self, String> {
        let (repository, image) =
            pair.split_once('=').ok_or_else(|| format!("{pair:?} is not REPOSITORY=IMAGE, two globs"))?;
        let (repository, image) = (repository.trim(), image.trim());
        let host = image.split_once('/').map_or(image, |(host, _)| host);
        if host != "localhost" && !host.contains(['.', ':', '*', '?', '[', '{']) {
            return Err(format!("{image:?} must begin with a registry's host, such as quay.io/acme/*"));
        }
        if image != "**" && image.split('/').count() < 2 || image.split('/').any(str::is_empty) {
            return Err(format!("{image:?} fits no image: write a registry's host and a path, such as quay.io/acme/*"));
        }
        // Images are compared by their canonical names, which have Docker Hub by this host.
        let image = match image.strip_prefix("index.docker.io/") {
            Some(path) => format!("docker.io/{path}"),
            None => image.to_owned(),
        };
        if image.split_once('/').is_some_and(|(_, path)| path.contains([':', '@'])) {
            return Err(format!("{image:?} fits no image: write its name without a tag"));
        }
        let repository = match repository {
            INLINE => None,
            glob => Some(RepoGlob::new(glob).map_err(|e| e.to_string())?),
        };
        Ok(Self { repository, image: glob(&image)? })
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(text).literal_separator(true).case_insensitive(true).build();
    glob.map(|glob| glob.compile_matcher()).map_err(|e| no_glob(text, &e))
}

fn no_glob(text: &str, error: &globset::Error) -> String {
    format!("the pattern {text:?} is broken ({}): write one such as acme/*", error.kind())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_names_repositories_and_images() {
        let grants = [
            "acme/mono=quay.io/acme/*",
            "acme/web-*=index.docker.io/acme/web",
            "other=127.0.0.1:5000/other/**",
            " a/b = localhost/x ",
        ];
        let grants = ImageGrants::parse(grants).unwrap();
        for (owner, repo, image, allowed) in [
            ("acme", "mono", "quay.io/acme/web", true),
            ("Acme", "Mono", "Quay.io/acme/web", true),
            ("acme", "mono", "quay.io/acme/web/deeper", false),
            ("acme", "mono", "quay.io/acme", false),
            ("acme", "mono", "quay.io.evil.org/acme/web", false),
            ("acme", "mono2", "quay.io/acme/web", false),
            ("acme/x", "mono", "quay.io/acme/web", false),
            ("acme", "web-1", "docker.io/acme/web", true),
            ("acme", "web-1", "index.docker.io/acme/web", true),
            ("other", "any", "127.0.0.1:5000/other/a/b", true),
            ("other", "any", "127.0.0.1:5000/more/a", false),
            ("a", "b", "localhost/x", true),
        ] {
            let parsed = ImageRef::parse(&format!("{image}:x")).unwrap();
            assert_eq!(grants.allow(RepoCase::Ignore, owner, repo, &parsed), allowed, "{owner}/{repo} {image}");
        }
        let image = ImageRef::parse("quay.io/acme/web:x").unwrap();
        assert!(!ImageGrants::default().allow(RepoCase::Ignore, "acme", "mono", &image));
        let grants = ImageGrants::parse(["Acme/*=quay.io/acme/*"]).unwrap();
        let allowed = [RepoCase::Ignore, RepoCase::Keep].map(|case| grants.allow(case, "acme", "mono", &image));
        assert_eq!(allowed, [true, false]);
    }

    #[test]
    fn dockerfiles_without_a_repository_have_grants_of_their_own() {
        let image = ImageRef::parse("quay.io/acme/web:x").unwrap();
        for (pair, inline, owner) in [
            ("generator=quay.io/acme/*", true, false),
            ("generator/*=quay.io/acme/*", false, true),
            ("*=quay.io/acme/*", false, true),
            ("generator=quay.io/other/*", false, false),
            ("generator=**", true, false),
        ] {
            let grants = ImageGrants::parse([pair]).unwrap();
            assert_eq!(grants.allow_inline(&image), inline, "{pair}");
            assert_eq!(grants.allow(RepoCase::Ignore, "generator", "web", &image), owner, "{pair}");
        }
    }

    #[test]
    fn a_pair_that_is_no_grant_is_named() {
        for (pair, words) in [
            ("acme/mono", "\"acme/mono\" is not REPOSITORY=IMAGE"),
            ("acme/mono=acme/web", "must begin with a registry's host"),
            ("acme/mono=", "must begin with a registry's host"),
            ("acme/{=quay.io/x", "the pattern \"acme/{\" is broken"),
            ("acme/x=quay.io/[", "the pattern \"quay.io/[\" is broken"),
            ("acme/*/x=quay.io/x", "\"acme/*/x\" fits no repository"),
            ("acme/x=quay.io/x:v1", "without a tag"),
            ("generator=*", "\"*\" fits no image: write a registry's host and a path"),
            ("acme/x=quay.io", "fits no image"),
            ("acme/x=quay.io/", "fits no image"),
        ] {
            let error = ImageGrants::parse([pair]).unwrap_err();
            assert!(error.contains(words), "{pair}: {error}");
        }
    }
}
