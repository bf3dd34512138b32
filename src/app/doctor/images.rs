use std::sync::Arc;

use super::Finding;
use crate::app::assemble;
use crate::model::{Destinations, ImageRef};
use crate::settings::Settings;
use crate::store::{SharedImage, Store};

pub const NAME: &str = "images";

/// Number of shared images that are named.
const NAMED: usize = 20;

/// Checks that no two repositories push to one image by the present settings.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    match Store::shared_images(&settings.data_dir()).await {
        Ok(shared) => judge(&assemble::images::destinations(&settings), &shared),
        Err(error) => {
            vec![Finding::warn(NAME, format!("which repositories share an image cannot be read: {error}"))]
        }
    }
}

fn judge(destinations: &Destinations, shared: &[SharedImage]) -> Vec<Finding> {
    let mut findings: Vec<_> = shared.iter().filter_map(|shared| judge_one(destinations, shared)).collect();
    if findings.is_empty() {
        return vec![Finding::ok(NAME, "no two repositories share one")];
    }
    let more = findings.len().saturating_sub(NAMED);
    findings.truncate(NAMED);
    if more > 0 {
        findings.push(Finding::warn(NAME, format!("{more} more images are shared")));
    }
    findings
}

/// Returns `None` if the present settings give these repositories images of their own.
fn judge_one(destinations: &Destinations, shared: &SharedImage) -> Option<Finding> {
    let image = ImageRef::parse(&format!("{}:x", shared.image)).ok()?;
    let (mut own, mut granted) = (Vec::new(), Vec::new());
    for repository in &shared.repositories {
        let (owner, repo) = repository.rsplit_once('/')?;
        if destinations.is_own(owner, repo, &image) {
            own.push(repository.as_str());
        } else if destinations.grants.allow(destinations.repo_case, owner, repo, &image) {
            granted.push(repository.as_str());
        }
    }
    let name = &shared.image;
    if own.len() > 1 {
        let message = format!(
            "{} are pushed as one image, {name}, where their tags replace each other: set IMAGE_NAME={{owner}}/{{repo}}",
            own.join(" and ")
        );
        return Some(Finding::warn(NAME, message));
    }
    own.extend(granted);
    (own.len() > 1)
        .then(|| Finding::ok(NAME, format!("{} are pushed as one image, {name}, by IMAGES_ALLOWED", own.join(" and "))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::doctor::FindingStatus;
    use crate::model::{ContextPath, DockerfilePath, ImageGrants, ImageName};

    fn judged(template: &str, grants: &[&str], image: &str, repositories: &[&str]) -> (FindingStatus, String) {
        let destinations = Destinations {
            base: "q.io/t".into(),
            name: ImageName::parse(template).unwrap(),
            dockerfile: DockerfilePath::new("Dockerfile").unwrap(),
            context: ContextPath::default(),
            grants: ImageGrants::parse(grants.iter().copied()).unwrap(),
            repo_case: crate::model::RepoCase::default(),
        };
        let repositories = repositories.iter().map(|&name| name.into()).collect();
        let mut found = judge(&destinations, &[SharedImage { image: image.into(), repositories }]);
        assert_eq!(found.len(), 1);
        let Finding { status, message, .. } = found.remove(0);
        (status, message)
    }

    #[test]
    fn a_pair_is_named_while_the_settings_bring_it_together() {
        let pair = ["a-b/c", "a/b-c"];
        for image in ["q.io/t/a-b-c", "q.io/t/a-b-c/web"] {
            let (status, message) = judged("{owner}-{repo}", &[], image, &pair);
            assert_eq!(status, FindingStatus::Warn);
            let expected = format!("a-b/c and a/b-c are pushed as one image, {image}, ");
            assert!(message.starts_with(&expected) && message.ends_with("set IMAGE_NAME={owner}/{repo}"), "{message}");
        }
        for (template, image) in [("{owner}/{repo}", "q.io/t/a-b-c"), ("{owner}-{repo}", "q.io/old/a-b-c")] {
            assert_eq!(judged(template, &[], image, &pair).1, "no two repositories share one");
        }
        let grants = ["a/*=r.io/x", "b/*=r.io/x"];
        let (status, message) = judged("{owner}-{repo}", &grants, "r.io/x", &["a/x", "b/y", "c/z"]);
        assert_eq!(
            (status, &*message),
            (FindingStatus::Ok, "a/x and b/y are pushed as one image, r.io/x, by IMAGES_ALLOWED")
        );
    }
}
