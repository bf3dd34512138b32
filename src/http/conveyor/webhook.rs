//! GitHub's webhooks as Conveyor takes them. The fields are those of its `server/github/github.go`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::lookup;
use super::render::TEXT;
use super::request::NewBuild;
use crate::http::error::ApiError;
use crate::http::hooks::webhook::WebhookKind;
use crate::http::hooks::{DUPLICATE, SKIPPED, delivery_id, shape, signature};
use crate::http::{ApiState, body, messages};
use crate::intake::{ForgePush, Pushed};
use crate::model::{CommitId, Dialect, GitRef, is_no_commit};
use crate::store::{Added, NewDelivery};

/// The route of deliveries, because Conveyor takes a webhook at any address and the same body at another one is no other push.
const ROUTE: &str = "*";

#[derive(Deserialize)]
#[serde(expecting = "the object of a push event")]
struct HookPush {
    #[serde(rename = "ref")]
    git_ref: Option<String>,
    before: Option<String>,
    after: Option<String>,
    deleted: Option<bool>,
    forced: Option<bool>,
    head_commit: Option<HeadCommit>,
    repository: HookRepository,
    /// Any JSON, because no job depends on it.
    sender: Option<Value>,
}

#[derive(Deserialize)]
struct HeadCommit {
    id: Option<String>,
    message: Option<String>,
}

#[derive(Deserialize)]
struct HookRepository {
    full_name: Option<String>,
    fork: Option<bool>,
    default_branch: Option<String>,
}

/// Takes a webhook: the id of its build, or why there is none, as text.
pub async fn receive(State(api): State<Arc<ApiState>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let credentials = api.credentials.present();
    let secret = credentials.hook_secret.as_ref().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or(ApiError::new(&messages::NO_HOOK_SECRET))?;
    let webhook = WebhookKind::read(&headers);
    let body = api.bodies.read(&headers, body, body::HOOK_LIMIT).await?;
    let signed = webhook.signed_text(body.bytes());
    if !signature::is_valid(&headers, &signed, secret.as_bytes()) {
        return Err(ApiError::new(&messages::HUB_SIGNATURE));
    }
    match webhook.event {
        "ping" => return Ok(skipped("ping", "Ok\n".into())),
        "push" => {}
        _ => return Err(ApiError::new(&messages::OTHER_EVENT)),
    }
    let json = webhook.json(&signed);
    if shape::is_no_push(&json) {
        return Err(ApiError::new(&messages::OTHER_EVENT));
    }
    let push: HookPush =
        serde_json::from_slice(&json).map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    if push.repository.fork == Some(true) {
        return Ok(skipped("fork", "Not building fork".into()));
    }
    if push.deleted == Some(true) || push.after.as_deref().is_some_and(is_no_commit) {
        return Ok(skipped("deleted", "Not building deleted branch".into()));
    }
    let delivery = NewDelivery {
        route: ROUTE,
        digest: hex::encode(Sha256::digest(&signed)),
        delivery_id: delivery_id(&headers),
        forge: webhook.forge,
        event: webhook.event.into(),
    };
    drop(json);
    drop(signed);
    drop(body);
    let added = match api.intake.push(push.read(&api, delivery).await?).await? {
        Pushed::Job(added) => *added,
        Pushed::Skipped(reason) => return Ok(skipped(reason.text(), format!("Not building: {}", reason.text()))),
    };
    let (job, is_duplicate) = match added {
        Added::New(job) => (job, false),
        Added::Duplicate(job) => (job, true),
    };
    let mut response = text(job.id.to_string());
    if is_duplicate {
        response.headers_mut().insert(DUPLICATE, HeaderValue::from_static("true"));
    }
    Ok(response)
}

impl HookPush {
    /// Returns the push. A payload without a commit means the head of its branch.
    async fn read(self, api: &ApiState, delivery: NewDelivery) -> Result<ForgePush, ApiError> {
        // Without a ref no rule for branches and tags could say whether it is built.
        let git_ref = self.git_ref.filter(|git_ref| !git_ref.is_empty());
        let git_ref = git_ref.ok_or_else(|| ApiError::with(&messages::BAD_BUILD, "the push names no ref"))?;
        let (sha, message) = self.head_commit.map_or((None, None), |head| (head.id, head.message));
        let build = NewBuild::new(&self.repository.full_name.unwrap_or_default(), &git_ref, &sha.unwrap_or_default())?;
        let (commit, _) = lookup::commit(api, &build).await?;
        let sender = self.sender.as_ref().and_then(|sender| sender["login"].as_str());
        Ok(ForgePush {
            owner: build.repo.owner().into(),
            repo: build.repo.name().into(),
            git_ref: Some(git_ref),
            before: self.before.and_then(|before| CommitId::parse(&before).ok()),
            after: Some(commit.to_string()),
            forced: self.forced == Some(true),
            default_branch: self.repository.default_branch.filter(|name| GitRef::new(name).is_ok()),
            message,
            is_fork: false,
            sender: sender.filter(|login| login.len() <= 255 && !login.contains(char::is_control)).map(str::to_owned),
            dialect: Dialect::Conveyor,
            delivery,
        })
    }
}

fn text(text: String) -> Response {
    (StatusCode::OK, [(header::CONTENT_TYPE, TEXT)], text).into_response()
}

/// Answers a webhook that makes no build.
fn skipped(reason: &'static str, said: String) -> Response {
    let mut response = text(said);
    response.headers_mut().insert(SKIPPED, HeaderValue::from_static(reason));
    response
}
