//! Destination of a job's image: the one rule that makes an image's name of every request.

use super::further::DockerfileName;
use super::image::{HUB, ImageRef, NAME_LIMIT, RequestedImage};
use super::naming::{HASH_DIGITS, is_contestable, valid_tag, with_hash, with_long_hash};
use super::{BuildOptions, ContextPath, DockerfilePath, ImageGrants, ImageName, JobContext, RepoCase};

/// Number of names that a repository can have.
const OWN_NAMES: u32 = 8;

/// Registries whose names have no parts below `account/name`, because they deny a push to a deeper name.
const FLAT: [&str; 1] = [HUB];

/// The settings that say where images go.
#[derive(Debug, Clone)]
pub struct Destinations {
    /// DOCKER_REPO_BASE
    pub base: String,
    /// IMAGE_NAME
    pub name: ImageName,
    /// DOCKERFILE, whose image has the repository's own name.
    pub dockerfile: DockerfilePath,
    /// CONTEXT. A job with another context, and no Dockerfile of its own, has another Dockerfile.
    pub context: ContextPath,
    /// IMAGES_ALLOWED
    pub grants: ImageGrants,
    /// REPO_CASE, decided.
    pub repo_case: RepoCase,
}

/// The image of a job, with its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Destination {
    pub image: String,
    /// Image that is taken instead if another Dockerfile of the repository has the first. Both are valid.
    pub alternative: Option<String>,
}

/// The reason why a job's image has no destination.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoDestination {
    #[error("image is not valid: {0}")]
    Invalid(String),
    #[error(
        "{image} is not below {own}: leave the name to the daemon, or have its operator set \
         IMAGES_ALLOWED={repository}={image}"
    )]
    NotAllowed { image: String, own: String, repository: String },
    #[error("no Dockerfile without a repository may become {0}: have the operator set IMAGES_ALLOWED=generator={0}")]
    NotGranted(String),
}

impl Destinations {
    /// Returns the destination of a job: the `image` that the job asks for; else a name below the repository's own if the
    /// job has another Dockerfile than DOCKERFILE; else the repository's own name. The target, the arguments and the
    /// platform do not change the name.
    ///
    /// # Errors
    /// A name that is too long, or that is neither below the repository's own name nor granted.
    pub fn of(&self, context: &JobContext) -> Result<Destination, NoDestination> {
        self.of_named(context, None)
    }

    /// Returns the destination of a job whose repository has this own name, or else the one of IMAGE_NAME.
    ///
    /// # Errors
    /// As for [`Destinations::of`].
    pub fn of_named(&self, context: &JobContext, own_name: Option<&str>) -> Result<Destination, NoDestination> {
        let own = self.own_of(context, own_name);
        // A job whose options cannot be read fails before it builds anything.
        let options = context.build_options().unwrap_or_default();
        let tag = valid_tag(&context.tag);
        let tagged = |name: String| format!("{name}:{tag}");
        let only = |name| Ok(Destination { image: tagged(name), alternative: None });
        let path = |options: &BuildOptions| options.paths(&self.dockerfile, &self.context).0;
        let other = Some(path(&options)).filter(|used| *used != path(&BuildOptions::default()));
        match (options.image, other) {
            (Some(RequestedImage::Below(name)), _) => match own.below(&name) {
                Some(name) => only(name),
                None => Err(NoDestination::Invalid(format!(
                    "below {} it would have more than {NAME_LIMIT} characters",
                    own.name
                ))),
            },
            (Some(RequestedImage::Absolute(image)), _) => {
                if self.may_push(context, own_name, &image) {
                    return only(image.name().into());
                }
                // ALLOW_REPOS may let any name pass.
                let repository = format!("{}/{}", context.owner, context.repo).chars().take(200).collect();
                let image = image.name().into();
                Err(NoDestination::NotAllowed { image, own: own.name, repository })
            }
            (None, Some(path)) => {
                let name = DockerfileName::of(&path);
                let long = tagged(own.further(&name));
                Ok(match name.short.as_ref().and_then(|short| own.below(short)) {
                    Some(short) => Destination { image: tagged(short), alternative: Some(long) },
                    None => Destination { image: long, alternative: None },
                })
            }
            (None, None) => only(own.name),
        }
    }

    /// Returns the destination of a Dockerfile without a repository: the image that the request names, `{base}/{repo}:{tag}`.
    ///
    /// # Errors
    /// A name that is not valid, or that is not granted.
    pub fn of_inline(&self, context: &JobContext) -> Result<Destination, NoDestination> {
        let JobContext { docker_repo_base, repo, tag, .. } = context;
        let image = ImageRef::parse(&format!("{docker_repo_base}/{repo}:{tag}"))
            .map_err(|error| NoDestination::Invalid(error.why.into()))?;
        match self.grants.allow_inline(&image) {
            true => Ok(Destination { image: image.to_string(), alternative: None }),
            false => Err(NoDestination::NotGranted(image.name().into())),
        }
    }

    /// Returns true if the job's repository may push this image: one of its own name or below it, or one that is granted.
    /// `own_name` is as for [`Destinations::of_named`].
    pub fn may_push(&self, context: &JobContext, own_name: Option<&str>, image: &ImageRef) -> bool {
        let JobContext { owner, repo, .. } = context;
        self.own_of(context, own_name).has(image) || self.grants.allow(self.repo_case, owner, repo, image)
    }

    /// Returns the names that the job's repository can have, the one of IMAGE_NAME first. The others are for a repository
    /// whose first name another one has.
    pub fn own_names(&self, base: &str, owner: &str, repo: &str) -> impl Iterator<Item = String> {
        let others = (1..OWN_NAMES).map(move |number| self.name.other(base, owner, repo, number));
        std::iter::once(self.name.of(base, owner, repo)).chain(others)
    }

    /// Returns true if a repository has a right to this name that excludes another repository from it: by IMAGE_NAME, and
    /// not for the template alone, or by a name of a further image beside its own.
    pub fn excludes(&self, (owner, repo): (&str, &str), context: &JobContext, name: &str) -> bool {
        let base = &context.docker_repo_base;
        let is_plain = |owner: &str, repo: &str| self.name.is_plain(base, owner, repo);
        let has_own = |owner: &str, repo: &str| self.own_names(base, owner, repo).any(|own| own == name);
        let are_both_plain =
            has_own(&context.owner, &context.repo) && is_plain(owner, repo) && is_plain(&context.owner, &context.repo);
        let is_beside = |own: String| is_flat(&own) && is_beside(&own, name);
        (has_own(owner, repo) && !are_both_plain) || self.own_names(base, owner, repo).any(is_beside)
    }

    /// Returns the names that an image of the job's repository can have, this one first, if it is one beside the
    /// repository's own that could be another repository's, and not granted. `own_name` is as for [`Destinations::of_named`].
    pub fn names_beside(&self, context: &JobContext, own_name: Option<&str>, image: &str) -> Option<Vec<String>> {
        let (name, tag) = image.rsplit_once(':')?;
        let own = self.own_of(context, own_name);
        let JobContext { owner, repo, .. } = context;
        let is_granted = || ImageRef::parse(image).is_ok_and(|i| self.grants.allow(self.repo_case, owner, repo, &i));
        if !own.is_flat || !is_beside(&own.name, name) || is_granted() {
            return None;
        }
        let other = |number| with_long_hash(name, NAME_LIMIT, &format!("{number}\n{}\n{name}", own.repository));
        let names = std::iter::once(name.to_owned()).chain((1..OWN_NAMES).map(other));
        Some(names.map(|name| format!("{name}:{tag}")).collect())
    }

    /// Returns true if IMAGE_NAME gives this repository the image, or a name above it.
    pub fn is_own(&self, owner: &str, repo: &str, image: &ImageRef) -> bool {
        self.own(&self.base, owner, repo).has(image)
    }

    fn own_of(&self, context: &JobContext, own_name: Option<&str>) -> Own {
        let JobContext { docker_repo_base, owner, repo, .. } = context;
        let own = self.own(docker_repo_base, owner, repo);
        match own_name {
            Some(name) => Own { name: name.into(), ..own },
            None => own,
        }
    }

    fn own(&self, base: &str, owner: &str, repo: &str) -> Own {
        let name = self.name.of(base, owner, repo);
        let is_flat = is_flat(&name);
        Own { name, repository: format!("{owner}/{repo}").to_ascii_lowercase(), is_flat }
    }
}

/// Returns true for a name in a registry without names below it.
fn is_flat(name: &str) -> bool {
    ImageRef::parse(&format!("{name}:x")).is_ok_and(|image| FLAT.contains(&image.registry()))
}

/// Returns true for a name such as `own-parts-1a2b3c4d`.
fn is_beside(own: &str, name: &str) -> bool {
    is_contestable(name) && name.strip_prefix(own).is_some_and(|rest| rest.starts_with('-'))
}

/// A repository's own name, and the rule for the names below it.
struct Own {
    name: String,
    /// `owner/repo` in lower case.
    repository: String,
    is_flat: bool,
}

impl Own {
    /// Returns the name of these valid parts below this one; `None` if it is too long.
    fn below(&self, parts: &str) -> Option<String> {
        match self.is_flat {
            true => {
                let fits = self.name.len() + parts.len() + HASH_DIGITS + 2 <= NAME_LIMIT;
                fits.then(|| self.beside(parts, parts))
            }
            false => Some(format!("{}/{parts}", self.name)).filter(|name| name.len() <= NAME_LIMIT),
        }
    }

    /// Returns the long name of a Dockerfile, cut where it has to be.
    fn further(&self, name: &DockerfileName) -> String {
        if self.is_flat {
            return self.beside(&name.stem, &name.hashed);
        }
        let room = NAME_LIMIT.saturating_sub(self.name.len() + 1);
        match room {
            HASH_DIGITS.. => format!("{}/{}", self.name, name.long(room)),
            _ => self.beside(&name.stem, &name.hashed),
        }
    }

    /// Returns `own-parts-1a2b3c4d`. The hash is made of the repository, too, so that `a-b/c` and `a/b-c` do not share the
    /// name.
    fn beside(&self, parts: &str, hashed: &str) -> String {
        let name = format!("{}-{}", self.name, parts.replace('/', "-"));
        with_hash(&name, NAME_LIMIT, &format!("{}\n{hashed}", self.repository))
    }

    /// Returns true for this image, and for images below it where a registry has deeper names.
    fn has(&self, image: &ImageRef) -> bool {
        let Ok(own) = ImageRef::parse(&format!("{}:x", self.name)) else { return false };
        let (own, image) = (own.canonical(), image.canonical());
        image.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || (rest.starts_with('/') && !self.is_flat))
    }
}

#[cfg(test)]
mod tests;
