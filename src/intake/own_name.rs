use super::Intake;
use super::request::Refusal;
use crate::model::{JobContext, NoDestination, is_contestable};

impl Intake {
    /// Returns the own image name of the job's repository if another repository has the one of IMAGE_NAME, which a hash in
    /// one of their names gives to both. The first repository that asks keeps the name.
    pub async fn own_name(&self, context: &JobContext) -> Result<Option<String>, Refusal> {
        let policy = self.policy();
        let destinations = policy.destinations();
        let JobContext { docker_repo_base, owner, repo, .. } = context;
        let mine = context.repository(destinations.repo_case);
        for (number, name) in destinations.own_names(docker_repo_base, owner, repo).enumerate() {
            if !is_contestable(&name) {
                return Ok(None);
            }
            let (settings, of, own) = (destinations.clone(), context.clone(), name.clone());
            let excludes = move |holder: &str| {
                holder.split_once('/').is_some_and(|of_holder| settings.excludes(of_holder, &of, &own))
            };
            if self.store.hold_name(&name, &mine, excludes).await? == mine {
                return Ok((number > 0).then_some(name));
            }
        }
        let why = "other repositories have all names that it can have: set IMAGE_NAME={owner}/{repo}";
        Err(NoDestination::Invalid(why.into()).into())
    }
}
