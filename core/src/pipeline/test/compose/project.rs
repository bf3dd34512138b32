//! Rewrites the project that `docker-compose config` prints, so that several jobs can have the same one on an engine.
//!
//! Ports are dropped, and so are the names that only one container, network or volume of an engine can have. The images
//! that the project builds get names of the job, because a name of the repository would be another job's, too; the push
//! stage gives the names that the file has.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::model::{ImageRef, JobId, PinnedImage};

/// Service whose command is the test.
pub(super) const TESTS: &str = "tests";
/// Repository of images that are not pushed. Nobody can own the name (RFC 6761).
const UNNAMED: &str = "image-factory.invalid/compose";

/// A project as it is given back to compose.
#[derive(Debug)]
pub(super) struct Project {
    pub text: String,
    pub built: Vec<BuiltService>,
    /// Images that the project uses and does not build.
    pub used: Vec<PinnedImage>,
    /// Images that cannot be pushed: the service, its image, and why.
    pub left_out: Vec<String>,
}

/// A service whose image the project builds.
#[derive(Debug)]
pub(super) struct BuiltService {
    pub name: String,
    /// Name of the image in the engine, until it is pushed.
    pub image: ImageRef,
    /// Name by which the image is pushed, if it is pushed.
    pub pushed: Option<ImageRef>,
    /// Absolute path of the context, and of the Dockerfile in it.
    pub context: String,
    pub dockerfile: String,
    pub args: BTreeMap<String, String>,
}

/// Facts that the rewriting depends on, beside the project.
pub(super) struct Rewriting<'a> {
    pub job: JobId,
    /// Returns true for an image that the repository may push.
    pub may_push: &'a dyn Fn(&ImageRef) -> bool,
    /// Returns the labels of an image of this name, by which the daemon knows it.
    pub labels: &'a dyn Fn(&ImageRef) -> Vec<(String, String)>,
}

impl Rewriting<'_> {
    /// Rewrites a project.
    ///
    /// # Errors
    /// The project has no service `tests`, or is none.
    pub fn apply(&self, mut config: Value) -> Result<Project, String> {
        for kind in ["networks", "volumes"] {
            let named = config.get_mut(kind).and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut);
            for own in named.filter_map(Value::as_object_mut).filter(|entry| !is_external(entry)) {
                own.remove("name");
            }
        }
        let services = config.get_mut("services").and_then(Value::as_object_mut).ok_or("it has no services")?;
        if !services.contains_key(TESTS) {
            let names = services.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(format!("it has no service `{TESTS}`, only {names}"));
        }
        let (mut built, mut left_out, mut renamed) = (Vec::new(), Vec::new(), BTreeMap::new());
        for (name, service) in services.iter_mut() {
            let service = service.as_object_mut().ok_or_else(|| format!("service {name} is no mapping"))?;
            service.remove("ports");
            service.remove("container_name");
            if service.get("build").is_some_and(|build| !build.is_null()) {
                let named = service.get("image").and_then(Value::as_str).map(tagged);
                let of_service = self.built(name, service, named.as_deref(), &mut left_out)?;
                named.and_then(|named| renamed.insert(named, of_service.image.to_string()));
                built.push(of_service);
            }
        }
        let mut used = Vec::new();
        for service in services.values_mut().filter_map(Value::as_object_mut) {
            if service.contains_key("build") {
                continue;
            }
            let Some(image) = service.get("image").and_then(Value::as_str).map(tagged) else { continue };
            match renamed.get(&image) {
                Some(ours) => {
                    service.insert("image".into(), json!(ours));
                    service.remove("pull_policy");
                }
                None => used.extend(PinnedImage::parse(&image)),
            }
        }
        let mut pushed = std::collections::HashSet::new();
        for service in &mut built {
            // The first of several services with one image is pushed, as compose pushes one.
            service.pushed.take_if(|image| !pushed.insert(image.key()));
        }
        Ok(Project { text: config.to_string(), built, used, left_out })
    }

    /// Renames the image of a service that is built, whose file names it `named`.
    fn built(
        &self,
        name: &str,
        service: &mut Map<String, Value>,
        named: Option<&str>,
        left_out: &mut Vec<String>,
    ) -> Result<BuiltService, String> {
        let mut pushed = None;
        match named.map(|named| (named, ImageRef::parse(named))) {
            Some((_, Ok(image))) if (self.may_push)(&image) => pushed = Some(image),
            Some((named, Ok(_))) => left_out.push(format!("{name}: {named}, which this repository may not push")),
            Some((_, Err(error))) => left_out.push(format!("{name}: {error}")),
            None => {}
        }
        let tag = format!("{}-{name}", self.job);
        let image = match &pushed {
            Some(image) => image.with_tag(&tag),
            None => ImageRef::parse(&format!("{UNNAMED}:{tag}")),
        };
        let image = image.map_err(|error| format!("service {name}: {error}"))?;
        service.insert("image".into(), json!(image.to_string()));
        service.remove("pull_policy");
        // compose 1 lets a file say the context alone.
        if let Some(context) = service["build"].as_str().map(str::to_owned) {
            service.insert("build".into(), json!({ "context": context }));
        }
        let build = service["build"].as_object_mut().ok_or_else(|| format!("service {name} has no good build"))?;
        let text = |key: &str| build.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let dockerfile =
            Some(text("dockerfile")).filter(|path| !path.is_empty()).unwrap_or_else(|| "Dockerfile".into());
        let of_service = BuiltService {
            name: name.into(),
            image,
            pushed,
            context: text("context"),
            dockerfile,
            args: pairs(build.get("args")).into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        };
        let mut labels = pairs(build.get("labels"));
        labels.extend((self.labels)(&of_service.image).into_iter().map(|(name, value)| (name, Some(value))));
        build.insert("labels".into(), json!(labels));
        Ok(of_service)
    }
}

/// Returns the entries of a mapping, or of a list of `NAME=VALUE`, both of which compose takes.
fn pairs(value: Option<&Value>) -> BTreeMap<String, Option<String>> {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    match value {
        Some(Value::Object(map)) => map.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(|pair| match pair.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (pair.to_owned(), None),
            })
            .collect(),
        _ => BTreeMap::new(),
    }
}

/// Returns true for a network or a volume that is there without the project.
fn is_external(entry: &Map<String, Value>) -> bool {
    entry.get("external").is_some_and(|external| !matches!(external, Value::Null | Value::Bool(false)))
}

/// Returns an image with the tag that Docker takes if there is none. A digest stays as it is.
fn tagged(image: &str) -> String {
    let has_tag = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
    if has_tag { image.into() } else { format!("{image}:latest") }
}

#[cfg(test)]
mod tests;
