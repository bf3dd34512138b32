//! The engines: their state, and the wish that one takes no new job. The handlers reach no engine; `app` injects what
//! they show and ask.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::auth::ApiCaller;
use super::error::{ApiError, shortened};
use super::files::OpenFile;
use super::{ApiState, body, messages};
use crate::model::{Cordon, EngineState, Job, JobId, Millis, StageName, StageStatus};

/// The view that handlers have of the engines, and the changes that they can ask for.
#[derive(Clone)]
pub struct EngineHandle {
    pub states: Arc<dyn Fn() -> Vec<EngineState> + Send + Sync>,
    /// Returns, for each engine, the bytes of our images and of the build cache, after seconds at most.
    pub usage: Arc<dyn Fn() -> BoxFuture<'static, Vec<Option<u64>>> + Send + Sync>,
    pub open_file: OpenFile,
    pub set_cordon: SetCordon,
}

/// Has the engine of a name take no new job, or with `None` take jobs again.
pub type SetCordon = Arc<dyn Fn(&str, Option<Cordon>) + Send + Sync>;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EngineView {
    /// Place among the engines, from 1.
    index: usize,
    name: String,
    version: Option<String>,
    builder: Option<&'static str>,
    health: &'static str,
    trouble: Option<String>,
    cordon_time: Option<Millis>,
    cordoned_by: Option<String>,
    /// True for a cordoned engine on which jobs still run.
    draining: bool,
    slots: usize,
    used_slots: usize,
    jobs: Vec<EngineJobView>,
    kept_containers: usize,
    disk: EngineDiskView,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EngineJobView {
    id: JobId,
    owner: String,
    repo: String,
    branch: String,
    /// The stage that runs; `None` between two stages.
    stage: Option<StageName>,
    /// Time since which the job has the engine.
    since: Millis,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EngineDiskView {
    free_bytes: Option<u64>,
    floor_bytes: u64,
    our_bytes: Option<u64>,
    budget_bytes: u64,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainRequest {
    /// Puts the engine's jobs back into the queue.
    #[serde(default)]
    now: bool,
}

/// `GET /engines`, in the order of the settings.
pub async fn list(State(api): State<Arc<ApiState>>, _caller: ApiCaller) -> Result<Response, ApiError> {
    let usage = (api.engines.usage)().await;
    let mut views = Vec::new();
    for (at, state) in (api.engines.states)().into_iter().enumerate() {
        views.push(view(&api, at, state, usage.get(at).copied().flatten()).await?);
    }
    Ok(Json(views).into_response())
}

/// `POST /engines/{name}/cordon`: the engine takes no new job.
pub async fn cordon(
    State(api): State<Arc<ApiState>>,
    caller: ApiCaller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.admin()?;
    let (at, state) = find(&api, &name)?;
    set_cordon(&api, &state.name, &caller).await?;
    answer(&api, at).await
}

/// `POST /engines/{name}/uncordon`: the engine takes jobs again.
pub async fn uncordon(
    State(api): State<Arc<ApiState>>,
    caller: ApiCaller,
    Path(name): Path<String>,
) -> Result<Response, ApiError> {
    caller.admin()?;
    let (at, state) = find(&api, &name)?;
    api.store.uncordon(&state.name).await?;
    (api.engines.set_cordon)(&state.name, None);
    if state.cordon.is_some() {
        tracing::info!(engine = state.name, by = caller.0.name, "the engine takes jobs again");
    }
    answer(&api, at).await
}

/// `POST /engines/{name}/drain`: the engine takes no new job, and with `now` loses those that it has.
pub async fn drain(
    State(api): State<Arc<ApiState>>,
    caller: ApiCaller,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    caller.admin()?;
    let body = api.bodies.read(&headers, body, body::JOB_LIMIT).await?;
    let bad = |error: serde_json::Error| ApiError::with(&messages::BAD_JSON, error.to_string());
    let DrainRequest { now } = match body.bytes() {
        [] => DrainRequest::default(),
        bytes => serde_json::from_slice(bytes).map_err(bad)?,
    };
    let (at, state) = find(&api, &name)?;
    set_cordon(&api, &state.name, &caller).await?;
    if now {
        // The jobs are read after the cordon, so that none is missed that came just before it.
        let jobs = (api.engines.states)().into_iter().nth(at).map(|state| state.jobs).unwrap_or_default();
        jobs.iter().for_each(|job| api.queue.put_back(job.id));
        tracing::info!(engine = state.name, by = caller.0.name, jobs = jobs.len(), "put the jobs of the engine back");
    }
    answer(&api, at).await
}

async fn set_cordon(api: &ApiState, name: &str, caller: &ApiCaller) -> Result<(), ApiError> {
    let cordon = api.store.cordon(name, &caller.0.name).await?;
    let is_new = !(api.engines.states)().iter().any(|state| state.name == name && state.cordon.is_some());
    (api.engines.set_cordon)(name, Some(cordon));
    if is_new {
        tracing::info!(engine = name, by = caller.0.name, "the engine takes no new jobs");
    }
    Ok(())
}

/// Finds the engine that the text means: its place from 1, its name, or the beginning of the name with or without the
/// scheme.
fn find(api: &ApiState, text: &str) -> Result<(usize, EngineState), ApiError> {
    let states = (api.engines.states)();
    let is_named = |name: &str| {
        let address = name.split_once("://").map_or(name, |(_, address)| address);
        !text.is_empty() && (name.starts_with(text) || address.starts_with(text))
    };
    let by_place = text.parse::<usize>().ok().and_then(|place| place.checked_sub(1)).filter(|at| *at < states.len());
    let exact = by_place.or_else(|| states.iter().position(|state| state.name == text));
    let like: Vec<usize> = (0..states.len()).filter(|at| is_named(&states[*at].name)).collect();
    match (exact, &like[..]) {
        (Some(at), _) => Ok((at, states[at].clone())),
        (None, [at]) => Ok((*at, states[*at].clone())),
        (None, like) => {
            let message = if like.is_empty() { &messages::UNKNOWN_ENGINE } else { &messages::AMBIGUOUS_ENGINE };
            let names = states.iter().map(|state| state.name.as_str()).collect::<Vec<_>>().join(", ");
            Err(ApiError::Message(message, vec![shortened(text), names]))
        }
    }
}

async fn answer(api: &ApiState, at: usize) -> Result<Response, ApiError> {
    let state = (api.engines.states)().into_iter().nth(at);
    let state = state.ok_or_else(|| ApiError::Internal("an engine is gone".into()))?;
    Ok(Json(view(api, at, state, None).await?).into_response())
}

async fn view(api: &ApiState, at: usize, state: EngineState, ours: Option<u64>) -> Result<EngineView, ApiError> {
    let mut jobs = Vec::new();
    for job in &state.jobs {
        if let Some(stored) = api.store.job(job.id).await? {
            jobs.push(job_view(stored, job.since));
        }
    }
    Ok(EngineView {
        index: at + 1,
        builder: state.builder.map(|builder| builder.as_str()),
        health: state.condition.as_str(),
        trouble: state.trouble,
        draining: state.cordon.is_some() && !state.jobs.is_empty(),
        cordon_time: state.cordon.as_ref().map(|cordon| cordon.since),
        cordoned_by: state.cordon.map(|cordon| cordon.by),
        slots: state.slots,
        used_slots: state.used,
        jobs,
        kept_containers: state.kept,
        disk: EngineDiskView {
            free_bytes: state.disk.free,
            floor_bytes: state.disk.floor,
            our_bytes: ours,
            budget_bytes: state.disk.budget,
        },
        name: state.name,
        version: state.version,
    })
}

fn job_view(job: Job, since: Millis) -> EngineJobView {
    let stage = job.stages.0.iter().find(|stage| stage.status == StageStatus::Running).map(|stage| stage.name);
    EngineJobView {
        id: job.id,
        branch: job.context.counted_branch().unwrap_or_default().to_owned(),
        owner: job.context.owner,
        repo: job.context.repo,
        stage,
        since,
    }
}
