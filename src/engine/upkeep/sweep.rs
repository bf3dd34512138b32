//! What a build that died with its engine leaves there, and how it is told from what others made.
//!
//! When *we* die, both builders stop and take away what they made, as their connection ends. When the engine is killed
//! (seen with 20.10 and 26.1), the classic builder leaves the container of its step, which the engine stops at its next
//! start, and that container's volumes; BuildKit leaves the step's processes, see [`super::orphans`]. The images of
//! finished steps are the classic builder's cache, which the next attempt uses. A push leaves its image, which has a
//! name, until a later attempt takes the name away.

use std::collections::{HashMap, HashSet};

use hyper::Method;
use serde::Deserialize;

use crate::engine::api::connect::SMALL_REQUEST;
use crate::engine::{Engine, EngineError};
use crate::model::ImageRef;

/// Of an image: the data folder whose daemon made it.
const INSTANCE_LABEL: &str = "io.image-factory.instance";
/// Of an image: the repository of its names. A child of it that somebody else builds inherits the labels, and has
/// another name.
const NAME_LABEL: &str = "io.image-factory.name";
/// Of an image: the job that made it.
const JOB_LABEL: &str = "io.image-factory.job";

/// A daemon, by its data folder: of several on one engine each cleans up after itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner(String);

impl Owner {
    /// `instance` is 1 to 63 letters and digits.
    pub fn new(instance: impl Into<String>) -> Self {
        Self(instance.into())
    }

    /// The labels of an image of this name.
    pub(in crate::engine) fn labels(&self, image: &ImageRef) -> [(String, String); 2] {
        [(INSTANCE_LABEL.into(), self.0.clone()), (NAME_LABEL.into(), repository(image))]
    }

    /// A container of the classic builder has no label but its base image's, so it is marked by a line in its
    /// `/etc/hosts`, which is no part of the image and which no cached step depends on. The name is no one's (RFC 6761).
    pub(in crate::engine) fn mark(&self, build_id: &str) -> String {
        format!("{build_id}{}:0.0.0.0", self.domain())
    }

    fn domain(&self) -> String {
        format!(".{}.image-factory.invalid", self.0)
    }

    /// The build whose mark this is.
    fn build_of<'a>(&self, mark: &'a str) -> Option<&'a str> {
        mark.split(':').next()?.strip_suffix(&self.domain())
    }

    /// Whether the image is ours: made by us, and known by no name that we did not give.
    pub(in crate::engine) fn made(&self, image: &Image) -> bool {
        let Some(labels) = &image.labels else { return false };
        let name = labels.get(NAME_LABEL);
        let is_ours = |tag: &str| ImageRef::parse(tag).is_ok_and(|image| Some(&repository(&image)) == name);
        labels.get(INSTANCE_LABEL) == Some(&self.0) && image.tags().all(is_ours)
    }
}

/// `docker.io/acme/hello`, also where the engine says `acme/hello`.
pub(in crate::engine) fn repository(image: &ImageRef) -> String {
    format!("{}/{}", image.registry(), image.repository())
}

/// What matters here of an image in `GET /images/json` and `GET /system/df`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(in crate::engine) struct Image {
    pub id: String,
    labels: Option<HashMap<String, String>>,
    repo_tags: Option<Vec<String>>,
    /// Bytes.
    pub size: i64,
    /// Bytes of layers that other images have, too; -1 where that was not asked for.
    pub shared_size: i64,
    /// How many containers use it; -1 where that was not asked for.
    pub containers: i64,
    /// Seconds since the epoch.
    pub created: i64,
}

impl Image {
    pub fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str).filter(|tag| *tag != "<none>:<none>")
    }

    fn job(&self) -> Option<&String> {
        self.labels.as_ref()?.get(JOB_LABEL)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Details {
    host_config: HostConfig,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    extra_hosts: Option<Vec<String>>,
}

impl Engine {
    /// Removes what dead builds of this owner left: of builds that `is_live` does not know, when none of theirs runs.
    /// Returns how many things that were.
    pub(in crate::engine) async fn sweep(&self, is_live: impl Fn(&str) -> bool) -> Result<usize, EngineError> {
        let Some(owner) = &self.owner else { return Ok(0) };
        let mut swept = self.end_orphans().await;
        let containers: Vec<Container> = self.host.json(Method::GET, "/containers/json?all=1").await?;
        for Container { id } in containers {
            // One that went meanwhile is nobody's leftover.
            let Ok(details) = self.host.json::<Details>(Method::GET, &format!("/containers/{id}/json")).await else {
                continue;
            };
            let hosts = details.host_config.extra_hosts.unwrap_or_default();
            if hosts.iter().filter_map(|host| owner.build_of(host)).any(|build| !is_live(build)) {
                // With its volumes that have no name.
                swept += usize::from(self.remove(&format!("/containers/{id}?force=1&v=1")).await?);
            }
        }
        let images: Vec<Image> = self.host.json(Method::GET, "/images/json").await?;
        let ours: Vec<_> = images.iter().filter(|image| owner.made(image)).collect();
        let named: HashSet<_> = ours.iter().filter(|image| image.tags().next().is_some()).map(|i| i.job()).collect();
        // Of an earlier attempt of a job, whose name a later one took.
        for image in ours.iter().filter(|image| image.tags().next().is_none()) {
            if image.job().is_some() && named.contains(&image.job()) {
                swept += usize::from(self.remove(&format!("/images/{}", image.id)).await?);
            }
        }
        Ok(swept)
    }

    /// Whether it is gone now; one that is used by something is not.
    pub(in crate::engine) async fn remove(&self, path: &str) -> Result<bool, EngineError> {
        match self.host.ask(Method::DELETE, path, SMALL_REQUEST).await {
            Ok(_) => Ok(true),
            // Gone, going, or in use.
            Err(e) if ["No such", "already in progress", "conflict"].iter().any(|part| e.message.contains(part)) => {
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_owner_knows_its_marks() {
        let owner = Owner::new("aa");
        let mark = owner.mark("0199-1");
        assert_eq!(mark, "0199-1.aa.image-factory.invalid:0.0.0.0");
        assert_eq!(owner.build_of(&mark), Some("0199-1"));
        for other in ["0199-1.ab.image-factory.invalid:0.0.0.0", "aa.image-factory.invalid:0.0.0.0", "db:10.0.0.1", ""]
        {
            assert_eq!(owner.build_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_owner_knows_its_images() {
        let owner = Owner::new("aa");
        let made = |labels: serde_json::Value, tags: serde_json::Value| {
            let image = json!({ "Id": "sha256:1", "Labels": labels, "RepoTags": tags, "Size": 1, "SharedSize": 0,
                "Containers": 0, "Created": 0 });
            owner.made(&serde_json::from_value(image).unwrap())
        };
        let labels = |owner: &Owner, image| json!(HashMap::from(owner.labels(&ImageRef::parse(image).unwrap())));
        let ours = labels(&owner, "q.io:5000/t/a:v1");
        assert!(made(ours.clone(), json!(["q.io:5000/t/a:v1", "q.io:5000/t/a:latest"])));
        assert!(made(ours.clone(), json!(null)) && made(ours.clone(), json!(["<none>:<none>"])));
        // The engine leaves out Docker Hub.
        assert!(made(labels(&owner, "docker.io/acme/hello:1"), json!(["acme/hello:1"])));
        // A child of ours that another one built, or a name that somebody gave to ours.
        assert!(!made(ours.clone(), json!(["mine:latest"])));
        assert!(!made(ours, json!(["q.io:5000/t/a:v1", "kept:1"])));
        assert!(!made(labels(&Owner::new("ab"), "a:1"), json!(["a:1"])) && !made(json!(null), json!(["a:1"])));
    }
}
