//! The marks that this daemon leaves on what it makes in an engine, by which it knows its own images and containers.

use std::collections::HashMap;

use serde::Deserialize;

use crate::model::{ImageRef, JobId};

/// Label of an image: the data folder whose daemon made it.
const INSTANCE_LABEL: &str = "io.image-factory.instance";
/// Label of an image: the repository of its names. An image that somebody else builds from it inherits its labels, but
/// has a name of another repository.
const NAME_LABEL: &str = "io.image-factory.name";
/// Label of an image: the job that made it.
pub const JOB_LABEL: &str = "io.image-factory.job";

/// Label of a container of a test: the data folder whose daemon made it. An image inherits the labels of images alone
/// from what it is built from, so these are other names.
const CONTAINER_INSTANCE_LABEL: &str = "image-factory.instance";
/// Label of a container of a test: the job that runs in it.
pub const CONTAINER_JOB_LABEL: &str = "image-factory.job";
/// Label of a container that stays after its test.
pub const KEPT_LABEL: &str = "image-factory.kept";
/// Filter of `GET /containers/json` for such containers.
pub(in crate::engine) const KEPT_FILTER: &str = "image-factory.kept=1";
/// Label of a container whose configuration has values of HOOK_ENV: the names of these, comma-separated.
pub const HOOK_ENV_LABEL: &str = "image-factory.hook-env";

/// One daemon, identified by its data folder. Each of several daemons on one engine cleans up after itself alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance(String);

impl Instance {
    /// Makes an instance of its id, which is 1 to 63 letters and digits.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// Returns the labels of an image of this name.
    pub(in crate::engine) fn labels(&self, image: &ImageRef) -> [(String, String); 2] {
        [(INSTANCE_LABEL.into(), self.0.clone()), (NAME_LABEL.into(), full_repository(image))]
    }

    /// Returns the labels of a container of a job's test.
    pub(in crate::engine) fn container_labels(&self, job: JobId) -> [(String, String); 2] {
        [(CONTAINER_INSTANCE_LABEL.into(), self.0.clone()), (CONTAINER_JOB_LABEL.into(), job.to_string())]
    }

    /// Returns the filter of `GET /containers/json` for the containers of this instance's tests.
    pub(in crate::engine) fn container_filter(&self) -> String {
        format!("{CONTAINER_INSTANCE_LABEL}={}", self.0)
    }

    /// Returns the line of `/etc/hosts` that marks a container of the classic builder. Such a container has only the
    /// labels of its base image; the line is no part of the image, and no cached step depends on it. Nobody can own
    /// the name (RFC 6761).
    pub(in crate::engine) fn mark(&self, build_id: &str) -> String {
        format!("{build_id}{}:0.0.0.0", self.domain())
    }

    fn domain(&self) -> String {
        format!(".{}.image-factory.invalid", self.0)
    }

    /// Returns the build that a line of `/etc/hosts` marks, if it is a mark of this instance.
    pub(super) fn build_of<'a>(&self, mark: &'a str) -> Option<&'a str> {
        mark.split(':').next()?.strip_suffix(&self.domain())
    }

    /// Returns true if this instance made the image, and the image has only names that this instance gave it.
    pub(super) fn owns(&self, image: &EngineImage) -> bool {
        let Some(labels) = &image.labels else { return false };
        let name = labels.get(NAME_LABEL);
        let is_ours = |tag: &str| ImageRef::parse(tag).is_ok_and(|image| Some(&full_repository(&image)) == name);
        labels.get(INSTANCE_LABEL) == Some(&self.0) && image.tags().all(is_ours)
    }
}

/// Returns the image's repository with its registry: `docker.io/acme/hello` also if the engine says `acme/hello`.
pub(in crate::engine) fn full_repository(image: &ImageRef) -> String {
    format!("{}/{}", image.registry(), image.repository())
}

/// The used part of an image in `GET /images/json` and `GET /system/df`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct EngineImage {
    pub id: String,
    labels: Option<HashMap<String, String>>,
    repo_tags: Option<Vec<String>>,
    /// Bytes.
    pub size: i64,
    /// Bytes of layers that other images have too; -1 if the request did not ask for it.
    pub shared_size: i64,
    /// Number of containers that use the image; -1 if the request did not ask for it.
    pub containers: i64,
    /// Seconds since the epoch.
    pub created: i64,
}

impl EngineImage {
    pub(super) fn tags(&self) -> impl Iterator<Item = &str> {
        self.repo_tags.iter().flatten().map(String::as_str).filter(|tag| *tag != "<none>:<none>")
    }

    pub(super) fn job(&self) -> Option<&String> {
        self.labels.as_ref()?.get(JOB_LABEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_instance_knows_its_marks() {
        let instance = Instance::new("aa");
        let mark = instance.mark("0199-1");
        assert_eq!(mark, "0199-1.aa.image-factory.invalid:0.0.0.0");
        assert_eq!(instance.build_of(&mark), Some("0199-1"));
        for other in ["0199-1.ab.image-factory.invalid:0.0.0.0", "aa.image-factory.invalid:0.0.0.0", "db:10.0.0.1", ""]
        {
            assert_eq!(instance.build_of(other), None, "{other}");
        }
    }

    #[test]
    fn an_instance_knows_its_images() {
        let instance = Instance::new("aa");
        let owns = |labels: serde_json::Value, tags: serde_json::Value| {
            let image = json!({ "Id": "sha256:1", "Labels": labels, "RepoTags": tags, "Size": 1, "SharedSize": 0,
                "Containers": 0, "Created": 0 });
            instance.owns(&serde_json::from_value(image).unwrap())
        };
        let labels =
            |instance: &Instance, image| json!(HashMap::from(instance.labels(&ImageRef::parse(image).unwrap())));
        let ours = labels(&instance, "q.io:5000/t/a:v1");
        assert!(owns(ours.clone(), json!(["q.io:5000/t/a:v1", "q.io:5000/t/a:latest"])));
        assert!(owns(ours.clone(), json!(null)) && owns(ours.clone(), json!(["<none>:<none>"])));
        // The engine leaves out the name of Docker Hub.
        assert!(owns(labels(&instance, "docker.io/acme/hello:1"), json!(["acme/hello:1"])));
        // Somebody else built a child of our image, or gave our image a name.
        assert!(!owns(ours.clone(), json!(["mine:latest"])));
        assert!(!owns(ours, json!(["q.io:5000/t/a:v1", "kept:1"])));
        assert!(!owns(labels(&Instance::new("ab"), "a:1"), json!(["a:1"])) && !owns(json!(null), json!(["a:1"])));
    }
}
