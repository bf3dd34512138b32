//! Names of images that two repositories could have: the first one that asks keeps such a name.

use super::Intake;
use super::request::Refusal;
use crate::model::{Destination, JobContext, NoDestination, is_contestable};

impl Intake {
    /// Returns the own image name of the job's repository if another repository has the one of IMAGE_NAME, which a hash in
    /// one of their names gives to both.
    pub async fn own_name(&self, context: &JobContext) -> Result<Option<String>, Refusal> {
        let policy = self.policy();
        let JobContext { docker_repo_base, owner, repo, .. } = context;
        for (number, name) in policy.destinations().own_names(docker_repo_base, owner, repo).enumerate() {
            if !is_contestable(&name) {
                return Ok(None);
            }
            if self.holds(context, &name).await? {
                return Ok((number > 0).then_some(name));
            }
        }
        let why = "other repositories have all names that it can have: set IMAGE_NAME={owner}/{repo}";
        Err(NoDestination::Invalid(why.into()).into())
    }

    /// Returns this destination with other names in the place of those that another repository has. In a registry without
    /// names below a repository's own, its further images are beside it.
    pub async fn held(
        &self,
        context: &JobContext,
        own_name: Option<&str>,
        destination: Destination,
    ) -> Result<Destination, Refusal> {
        let Destination { image, alternative } = destination;
        let image = self.held_image(context, own_name, image).await?;
        let alternative = match alternative {
            Some(alternative) => Some(self.held_image(context, own_name, alternative).await?),
            None => None,
        };
        Ok(Destination { image, alternative })
    }

    async fn held_image(&self, context: &JobContext, own_name: Option<&str>, image: String) -> Result<String, Refusal> {
        let policy = self.policy();
        let Some(names) = policy.destinations().names_beside(context, own_name, &image) else { return Ok(image) };
        for name in names {
            if self.holds(context, name.rsplit_once(':').map_or(&name, |(name, _)| name)).await? {
                return Ok(name);
            }
        }
        Err(NoDestination::Invalid("other repositories have all names that it can have: choose another".into()).into())
    }

    /// Gives the name to the job's repository unless another one has it, and returns whether it is the repository's.
    async fn holds(&self, context: &JobContext, name: &str) -> Result<bool, Refusal> {
        let destinations = self.policy().destinations().clone();
        let mine = context.repository(destinations.repo_case);
        let (of, own) = (context.clone(), name.to_owned());
        let excludes = move |holder: &str| {
            holder.split_once('/').is_some_and(|of_holder| destinations.excludes(of_holder, &of, &own))
        };
        Ok(self.store.hold_name(name, &mine, excludes).await? == mine)
    }
}
