//! The webhooks of the forges, all at one address: `webhook` tells the forge by the headers, `signature` proves the sender,
//! and a file for each form of a push makes a [`ForgePush`](crate::intake::ForgePush) of the body. Nothing behind them knows
//! which forge it was.

mod github;
pub mod shape;
pub mod signature;
pub mod webhook;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use sha2::{Digest, Sha256};

use super::error::ApiError;
use super::totem::views;
use super::{ApiState, body, messages};
use crate::intake::Pushed;
use crate::model::Forge;
use crate::store::{Added, NewDelivery};
use webhook::WebhookKind;

/// Address of every forge's webhooks. It is one, because the same body at another address would be another delivery.
const ROUTE: &str = "/hooks/github";

/// Marks the answer to a delivery that came before: the job is the one that it made then.
pub const DUPLICATE: HeaderName = HeaderName::from_static("x-image-factory-duplicate");

/// Says why a webhook made no job.
pub const SKIPPED: HeaderName = HeaderName::from_static("x-image-factory-skipped");

pub const NO_PUSH: &str = "the event is no push of a branch or tag";
pub const DELETED: &str = "the push deleted its branch or tag";

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route(ROUTE, post(receive))
}

/// `POST /hooks/github`
async fn receive(State(api): State<Arc<ApiState>>, headers: HeaderMap, body: Body) -> Result<Response, ApiError> {
    let credentials = api.credentials.present();
    let secret = credentials.hook_secret.as_ref().filter(|secret| !secret.is_empty());
    let secret = secret.ok_or(ApiError::new(&messages::NO_HOOK_SECRET))?;
    let webhook = WebhookKind::read(&headers);
    // GitLab and Gitee send a secret in the clear or a signature of the time, neither of which proves the body.
    if matches!(webhook.forge, Forge::GitLab | Forge::Gitee) {
        return Err(ApiError::with(&messages::UNREAD_FORGE, webhook.forge.title()));
    }
    let body = api.bodies.read(&headers, body, body::HOOK_LIMIT).await?;
    let signed = webhook.signed_text(body.bytes());
    if !signature::is_valid(&headers, &signed, secret.as_bytes()) {
        return Err(ApiError::new(&messages::SIGNATURE));
    }
    let delivery = || NewDelivery {
        route: ROUTE,
        digest: hex::encode(Sha256::digest(&signed)),
        delivery_id: delivery_id(&headers),
        forge: webhook.forge,
        event: webhook.event.into(),
    };
    let json = webhook.json(&signed);
    let push = match (webhook.forge, webhook.event) {
        (Forge::Bitbucket, "repo:push" | "repo:refs_changed") => {
            return Err(ApiError::with(&messages::UNREAD_FORGE, webhook.forge.title()));
        }
        (Forge::Bitbucket, _) => return Ok(skipped(NO_PUSH)),
        (Forge::Gogs, "create") if !shape::is_no_creation(&json) => github::created_tag(&json, delivery)?,
        (_, "push") if !shape::is_no_push(&json) => github::push(&json, delivery)?,
        _ => return Ok(skipped(NO_PUSH)),
    };
    let Some(mut push) = push else { return Ok(skipped(DELETED)) };
    if api.intake.policy().selection().skip_words {
        push.message = github::message(&json);
    }
    drop(json);
    drop(signed);
    drop(body);
    let added = match api.intake.push(push).await? {
        Pushed::Job(added) => *added,
        Pushed::Skipped(reason) => return Ok(skipped(reason.text())),
    };
    match added {
        Added::New(job) => views::job(StatusCode::CREATED, &job),
        Added::Duplicate(job) => {
            let mut response = views::job(StatusCode::CREATED, &job)?;
            response.headers_mut().insert(DUPLICATE, HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

/// Answers a webhook that makes no job. The forges' pages of deliveries show the header.
fn skipped(reason: &'static str) -> Response {
    (StatusCode::NO_CONTENT, [(SKIPPED, HeaderValue::from_static(reason))]).into_response()
}

/// Returns the sender's id of the delivery. Gitea, Forgejo and Gogs send it under GitHub's name, too.
pub fn delivery_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-github-delivery")?.to_str().ok()?;
    Some(id.to_owned()).filter(|id| id.len() <= 128)
}

/// Reads a body as each forge's push. The first byte chooses the forge.
#[cfg(fuzzing)]
pub fn fuzz(input: &[u8]) {
    let Some((forge, body)) = input.split_first() else { return };
    let webhook = WebhookKind { forge: Forge::ALL[usize::from(*forge) % Forge::ALL.len()], event: "push" };
    let (route, event) = (ROUTE, "push".to_owned());
    let delivery =
        || NewDelivery { route, digest: String::new(), delivery_id: None, forge: webhook.forge, event: event.clone() };
    let signed = webhook.signed_text(body);
    let json = webhook.json(&signed);
    if !shape::is_no_push(&json) {
        let _ = github::push(&json, delivery);
        let _ = github::message(&json);
    }
    if !shape::is_no_creation(&json) {
        let _ = github::created_tag(&json, delivery);
    }
}
