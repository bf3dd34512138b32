use std::sync::Arc;

use tokio::sync::watch;
use zeroize::Zeroizing;

use super::request::{Refusal, Requester};
use super::selection::Selection;
use crate::logs::{arguments_with_secrets, has_secret};
use crate::model::{Destination, Destinations, JobContext, JobSource, RepoCase, RepoGlob, RepoGlobError, RepoName};
use crate::secrets::Secrets;

/// The rules of what may be built, and where its image goes.
pub struct Policy {
    allowed_repos: AllowedRepos,
    selection: Selection,
    destinations: Destinations,
    /// The daemon's own secrets, which no build may be given.
    refused: Vec<Zeroizing<String>>,
    secrets: watch::Receiver<Arc<Secrets>>,
}

impl Policy {
    pub fn new(
        allowed_repos: AllowedRepos,
        selection: Selection,
        destinations: Destinations,
        refused: Vec<Zeroizing<String>>,
        secrets: watch::Receiver<Arc<Secrets>>,
    ) -> Self {
        Self { allowed_repos, selection, destinations, refused, secrets }
    }

    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }

    /// True if ALLOW_REPOS names the repository.
    pub fn allows(&self, owner: &str, repo: &str) -> bool {
        self.allowed_repos.allow(owner, repo)
    }

    /// Returns where the image of an allowed job goes.
    pub(super) fn check(
        &self,
        context: &JobContext,
        source: &JobSource,
        by: Requester<'_>,
    ) -> Result<Destination, Refusal> {
        let repository = match source {
            JobSource::Git => format!("{}/{}", context.owner, context.repo),
            inline => inline.key(context, self.destinations.repo_case),
        };
        if let Some(limits) = by.limits_without(self.destinations.repo_case, &repository) {
            return Err(Refusal::Limited { repository, limits: limits.entries().join(", ") });
        }
        if let JobSource::Dockerfile(text) = source {
            if has_secret(text, &self.refused_of(None)) {
                return Err(Refusal::SecretDockerfile);
            }
            return Ok(self.destinations.of_inline(context)?);
        }
        // No forge and no Git has such a name, and a terminal would obey it. Other names that they cannot have make a job,
        // which says what is wrong with them.
        for (property, name) in [
            ("owner", &context.owner),
            ("repo", &context.repo),
            ("branch", &context.branch),
            ("commit", &context.commit),
            ("tag", &context.tag),
        ] {
            if name.contains(|c: char| c.is_ascii_control()) {
                return Err(Refusal::ControlCharacter(property, name.clone()));
            }
        }
        for (property, name) in [("owner", &context.owner), ("repo", &context.repo)] {
            // A signed push always makes a job, which says what is wrong with its names.
            if name.contains('/') && matches!(by, Requester::Caller { .. }) {
                return Err(Refusal::Slash(property, name.clone()));
            }
        }
        if !self.allows(&context.owner, &context.repo) {
            return Err(Refusal::Repository(repository));
        }
        if context.docker_repo_base != self.destinations.base && !by.is_admin() {
            return Err(Refusal::Base);
        }
        self.check_arguments(context)?;
        Ok(self.destinations.of(context)?)
    }

    /// Refuses secrets in build arguments, because an argument stays readable in the image and in the job.
    fn check_arguments(&self, context: &JobContext) -> Result<(), Refusal> {
        let options = context.build_options().unwrap_or_default();
        if options.build_args.is_empty() {
            return Ok(());
        }
        let repo = RepoName::new(&context.owner, &context.repo).ok();
        match arguments_with_secrets(&options.build_args, &self.refused_of(repo.as_ref())) {
            names if names.is_empty() => Ok(()),
            names => Err(Refusal::SecretArguments(names)),
        }
    }

    /// Returns the daemon's own secrets, and the registry logins of the repository. A refusal answers guesses, so it is
    /// never about another repository's logins.
    fn refused_of(&self, repo: Option<&RepoName>) -> Vec<Zeroizing<String>> {
        let mut refused = self.secrets.borrow().masks(repo);
        refused.extend(self.refused.iter().cloned());
        refused
    }
}

/// The repositories of `ALLOW_REPOS`. No glob allows all.
pub struct AllowedRepos {
    globs: Vec<RepoGlob>,
    case: RepoCase,
}

impl AllowedRepos {
    /// # Errors
    /// A glob that cannot be read.
    pub fn new(globs: &[String], case: RepoCase) -> Result<Self, RepoGlobError> {
        Ok(Self { globs: globs.iter().map(|glob| RepoGlob::new(glob)).collect::<Result<_, _>>()?, case })
    }

    /// Returns true if a glob names the repository.
    pub fn allow(&self, owner: &str, repo: &str) -> bool {
        self.globs.is_empty() || self.globs.iter().any(|glob| glob.is_match(self.case, owner, repo))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_name_owners_and_repositories() {
        let allowed = |globs: &[&str], owner, repo| {
            let globs: Vec<String> = globs.iter().map(|&glob| glob.into()).collect();
            AllowedRepos::new(&globs, RepoCase::Ignore).unwrap().allow(owner, repo)
        };
        assert!(allowed(&[], "acme", "hello"));
        assert!(allowed(&["*"], "acme", "hello"));
        assert!(allowed(&["acme"], "acme", "hello"));
        assert!(allowed(&["Acme/hello"], "acme", "Hello"));
        assert!(allowed(&["acme/*"], "acme", "hello"));
        assert!(allowed(&["other/x", "acme/hel*"], "acme", "hello"));
        assert!(!allowed(&["acme"], "acme-evil", "hello"));
        assert!(!allowed(&["acme/*"], "acme/x", "hello"));
        assert!(!allowed(&["acme/*"], "other", "hello"));
        assert!(!allowed(&["acme/hello"], "acme", "hello2"));
        assert!(AllowedRepos::new(&["a{".into()], RepoCase::Ignore).is_err());
    }
}
