//! The task of a build, and its result.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::context::PatternBounds;
use super::context::tree::SyncStats;
use crate::git::Snapshot;
use crate::model::{BaseImage, BuildNetwork, ImageRef};
use crate::secrets::RegistryLogins;

pub struct ImageBuild<'a> {
    pub snapshot: Arc<Snapshot>,
    /// Path of the tree's folder that is the context, with all links resolved; empty if the whole tree is the context.
    pub context: &'a [u8],
    /// Path in the tree, even if the context is a folder of it.
    pub dockerfile: &'a str,
    /// Names that the engine gives to the image.
    pub images: &'a [ImageRef],
    /// Stage of the Dockerfile to stop at; `None` for the last one.
    pub target: Option<&'a str>,
    pub build_args: BTreeMap<String, String>,
    /// Platform such as `linux/arm64`; `None` for the engine's own.
    pub platform: Option<&'a str>,
    pub labels: BTreeMap<String, String>,
    /// Unique per attempt.
    pub build_id: String,
    /// Key that is the same for each build of one repository, context, Dockerfile and target, and for no other. Two
    /// different builds on one key would evict each other's files, because the engine is sent only the files that a
    /// build copies.
    pub sync_key: String,
    /// Namespace of the cache mounts; `None` for the one that all builds share which have none.
    pub cache_namespace: Option<String>,
    /// Network of the steps; `None` is the engine's own.
    pub network: Option<&'a BuildNetwork>,
    /// True if base images that the engine has are looked up in their registries.
    pub pull: bool,
    /// True if every step runs, whatever the engine has in its cache.
    pub no_cache: bool,
    /// Image whose layers count as cached steps beside the engine's own, as `name@sha256:…`.
    pub cache_from: Option<String>,
    /// True if BuildKit writes into the image from which steps its layers are, so that the image can be a `cache_from`.
    pub inline_cache: bool,
    /// Limits of each step, by their names in the engine's API. BuildKit has none.
    pub limits: BTreeMap<String, String>,
    /// Images that the Dockerfile builds on, as far as they are known. They decide which login an engine gets that asks for
    /// one by host.
    pub bases: Vec<BaseImage>,
    /// Logins for base images. Each is given to its own registry only.
    pub logins: RegistryLogins,
    /// Bounds of the patterns of `.dockerignore`.
    pub pattern_bounds: PatternBounds,
    /// Cancelled once the engine has the context, or asks for none.
    pub context_sent: CancellationToken,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// Digest (`sha256:…`) of the image's configuration.
    pub image_id: String,
    /// Amounts that FileSync sent; `None` from the classic builder, which takes a tar.
    pub sync: Option<SyncStats>,
    /// Steps that BuildKit reported. The classic builder reports none.
    pub steps: StepCounts,
}

/// Numbers of a Dockerfile's steps: those that were in the engine's cache, and those that ran.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepCounts {
    pub cached: u64,
    pub run: u64,
}

impl ImageBuild<'_> {
    /// Returns the path of `POST /build`. `dockerfile` is the name under which the builder finds the Dockerfile, `network`
    /// its word for the network of steps, and `more` are the builder's own parameters.
    pub(super) fn path(&self, dockerfile: &str, network: Option<&str>, more: &[(&str, &str)]) -> String {
        let labels = Value::from_iter(self.labels.clone()).to_string();
        let build_args = Value::from_iter(self.build_args.clone()).to_string();
        let mut query = form_urlencoded::Serializer::new(String::from("/build?"));
        for image in self.images {
            query.append_pair("t", &image.to_string());
        }
        query.append_pair("labels", &labels).append_pair("dockerfile", dockerfile);
        query.append_pair("buildargs", &build_args);
        for (name, value) in [("target", self.target), ("platform", self.platform), ("networkmode", network)] {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for (name, is_set) in [("pull", self.pull), ("nocache", self.no_cache)] {
            if is_set {
                query.append_pair(name, "1");
            }
        }
        if let Some(image) = &self.cache_from {
            query.append_pair("cachefrom", &Value::from(vec![image.as_str()]).to_string());
        }
        query.extend_pairs(more).finish()
    }
}
