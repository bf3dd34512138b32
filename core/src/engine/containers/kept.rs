//! Containers that stay after their tests (GARBAGE_COLLECT=0), for as long as KEEP_CONTAINERS says, and the files in them.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http_body_util::BodyExt;
use hyper::{Method, StatusCode};
use serde::Deserialize;

use super::sweep::TestContainer;
use crate::engine::api::connect::{Reply, invalid, no_body, request};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::engine::context::tar::file_size;
use crate::engine::upkeep::instance::{CONTAINER_JOB_LABEL, HOOK_ENV_LABEL, KEPT_FILTER};
use crate::model::{JobId, Millis};

/// Limits of the number and the age of the containers of tests that stay; `None` sets no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KeepLimits {
    pub age: Option<Duration>,
    pub number: Option<usize>,
}

/// A container that stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptContainer {
    id: String,
    pub job: String,
    pub created: Millis,
    /// Names of the variables of HOOK_ENV whose values are in its configuration, comma-separated.
    pub hook_env: Option<String>,
}

/// Something in a container.
pub struct CopiedPath {
    /// Bytes of the file; `None` for a folder, which comes as a tar.
    pub size: Option<u64>,
    pub body: BoxStream<'static, Result<Bytes, EngineError>>,
}

/// Why nothing can be copied out of a container.
#[derive(Debug)]
pub enum NoCopy {
    /// The job has no container there.
    Container,
    /// The container has no such path.
    Path,
    /// The path is neither a file nor a folder.
    Special,
    Engine(EngineError),
}

impl From<EngineError> for NoCopy {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// The header `X-Docker-Container-Path-Stat`.
#[derive(Deserialize)]
struct PathStat {
    /// Go's `fs.FileMode`.
    mode: u32,
    /// Where a symlink leads, as an absolute path in the container.
    #[serde(rename = "linkTarget")]
    link_target: String,
}

const MODE_DIR: u32 = 1 << 31;
const MODE_SYMLINK: u32 = 1 << 27;
/// All bits of Go's `fs.ModeType`; a regular file has none of them.
const MODE_TYPE: u32 = MODE_DIR | MODE_SYMLINK | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19;
/// Number of links that a path may lead through, as Linux has it.
const MOST_LINKS: usize = 40;
const LOOPS: [&str; 2] = ["too many links", "too many levels of symbolic links"];
/// Most bytes before a file's content in its tar.
const MOST_HEADERS: usize = 64 << 10;

impl Engine {
    /// Returns the containers that stay, of every daemon that uses this engine, the newest first.
    pub async fn kept(&self) -> Result<Vec<KeptContainer>, EngineError> {
        let mut kept: Vec<_> = self.test_containers(KEPT_FILTER).await?.iter().filter_map(KeptContainer::of).collect();
        kept.sort_by_key(|container| std::cmp::Reverse(container.created));
        Ok(kept)
    }

    /// Removes the containers of this instance that are too old or too many, and returns the number of those that stay.
    pub(in crate::engine) async fn prune_kept(&self, limits: &KeepLimits) -> Result<usize, EngineError> {
        let Some(instance) = &self.instance else { return Ok(0) };
        let ours = self.test_containers(&instance.container_filter()).await?;
        let mut kept: Vec<_> = ours.iter().filter_map(KeptContainer::of).collect();
        kept.sort_by_key(|container| std::cmp::Reverse(container.created));
        let now = Millis::now();
        let is_young = |kept: &KeptContainer| limits.age.is_none_or(|age| now.since(kept.created) < age);
        let stay = kept.iter().take(limits.number.unwrap_or(usize::MAX)).take_while(|kept| is_young(kept)).count();
        for container in &kept[stay..] {
            self.remove(&format!("/containers/{}?force=1&v=1", container.id)).await?;
            self.remove_project(&container.job, false).await?;
        }
        Ok(stay)
    }

    /// Opens a path in the container that was kept of a job, following symlinks as in the container.
    pub(in crate::engine) async fn copy_out(&self, job: JobId, path: &str) -> Result<CopiedPath, NoCopy> {
        let instance = self.instance.as_ref().ok_or(NoCopy::Container)?;
        let ours = self.test_containers(&instance.container_filter()).await?;
        // One that does not run yet has the values of HOOK_ENV in a file.
        let kept = ours.iter().find(|container| container.is_kept() && container.is_named(&job.to_string()));
        self.open(&kept.ok_or(NoCopy::Container)?.id, path).await
    }

    /// Opens a path in a container.
    pub(super) async fn open(&self, id: &str, path: &str) -> Result<CopiedPath, NoCopy> {
        let mut path = path.to_owned();
        for _ in 0..MOST_LINKS {
            let query = form_urlencoded::Serializer::new(String::new()).append_pair("path", &path).finish();
            let asked = request(Method::GET, &format!("/containers/{id}/archive?{query}"));
            let reply = match self.send(asked.body(no_body()).map_err(invalid)?).await?.accepted().await {
                Err(error) if error.status == Some(StatusCode::NOT_FOUND) => return Err(NoCopy::Path),
                // This is how Docker and Podman tell a loop of symlinks, with a status of their own fault.
                Err(error) if LOOPS.iter().any(|words| error.message.contains(words)) => return Err(NoCopy::Path),
                reply => reply?,
            };
            let stat = stat(&reply)?;
            match stat.mode & MODE_TYPE {
                0 => return file(reply).await,
                MODE_DIR => return Ok(CopiedPath { size: None, body: frames(reply) }),
                MODE_SYMLINK if stat.link_target != path => path = stat.link_target,
                _ => return Err(NoCopy::Special),
            }
        }
        Err(NoCopy::Path)
    }
}

impl KeptContainer {
    /// Returns `None` for a container that is to be removed, or in which something runs.
    fn of(container: &TestContainer) -> Option<Self> {
        container.is_kept().then(|| Self {
            id: container.id.clone(),
            job: container.labels.get(CONTAINER_JOB_LABEL).cloned().unwrap_or_default(),
            created: Millis(container.created.saturating_mul(1000)),
            hook_env: container.labels.get(HOOK_ENV_LABEL).filter(|names| !names.is_empty()).cloned(),
        })
    }
}

fn stat(reply: &Reply) -> Result<PathStat, EngineError> {
    let header = reply.response.headers().get("x-docker-container-path-stat");
    let json = header.and_then(|text| BASE64_STANDARD.decode(text).ok());
    let stat = json.and_then(|json| serde_json::from_slice(&json).ok());
    stat.ok_or_else(|| EngineError::engine("the Docker engine did not say what is at a path of a container"))
}

fn frames(reply: Reply) -> BoxStream<'static, Result<Bytes, EngineError>> {
    let body = reply.into_response().into_body().into_data_stream();
    body.map_err(|error| EngineError::broken(&error)).boxed()
}

/// Returns the content of the one file of a tar.
async fn file(reply: Reply) -> Result<CopiedPath, NoCopy> {
    let (mut frames, mut head) = (frames(reply), BytesMut::new());
    let size = loop {
        if let Some((begin, size)) = file_size(&head) {
            let _ = head.split_to(begin);
            break size;
        }
        match frames.next().await {
            Some(frame) if head.len() < MOST_HEADERS => head.extend_from_slice(&frame?),
            _ => return Err(EngineError::engine("the Docker engine sent a file in a tar that cannot be read").into()),
        }
    };
    let all = stream::iter([Ok(head.freeze())]).chain(frames);
    let content = stream::try_unfold((all, size), |(mut all, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let cut_off = || EngineError::engine("the Docker engine cut a file off");
        let mut bytes = all.next().await.ok_or_else(cut_off)??;
        bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - bytes.len() as u64;
        Ok(Some((bytes, (all, left))))
    });
    Ok(CopiedPath { size: Some(size), body: content.boxed() })
}
