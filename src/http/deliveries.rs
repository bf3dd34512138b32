//! The webhook deliveries that were accepted, and one of them once more. Nothing of a delivery's headers and body is
//! kept but what its job was made of.

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Api;
use super::auth::Caller;
use super::error::Error;
use super::page::{self, Page};
use super::totem::views;
use crate::model::{CommitId, JobContext, JobId, Millis};
use crate::store::Delivery;

/// The `{id}` of a path. What is no id of ours names an unknown delivery.
pub struct DeliveryPath(Uuid);

impl<S: Send + Sync> FromRequestParts<S> for DeliveryPath {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let Path(id) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|_| Error::UnknownDelivery("(not UTF-8)".into()))?;
        id.parse().map(Self).map_err(|_| Error::UnknownDelivery(id))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryView {
    id: Uuid,
    route: String,
    event: String,
    /// The sender's own id.
    delivery_id: Option<String>,
    /// SHA-256 of the body, hex.
    digest: String,
    receive_time: Millis,
    owner: String,
    repo: String,
    r#ref: String,
    before: Option<CommitId>,
    after: String,
    job: JobId,
    /// How often it came again within 24 hours, and when that was last.
    repeats: u32,
    repeat_time: Option<Millis>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let JobContext { owner, repo, branch, commit, .. } = delivery.context;
        Self {
            id: delivery.id,
            route: delivery.route,
            event: delivery.event,
            delivery_id: delivery.delivery_id,
            digest: delivery.digest,
            receive_time: delivery.received,
            owner,
            repo,
            r#ref: delivery.git_ref.unwrap_or(branch),
            before: delivery.before,
            after: commit,
            job: delivery.job,
            repeats: delivery.repeats,
            repeat_time: delivery.repeated,
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /deliveries?limit=&cursor=`: newest first; the cursor is the id of the last one that the page before showed.
pub async fn list(State(api): State<Arc<Api>>, _caller: Caller, uri: Uri) -> Result<Response, Error> {
    let Listing { limit, cursor } = page::query(&uri)?;
    let page = Page::read(limit, cursor, "delivery")?;
    let mut deliveries = api.store.deliveries(page.ahead(), page.cursor).await?;
    let link = page.cut(&mut deliveries, |delivery| delivery.id, "/deliveries", &[]);
    let views: Vec<DeliveryView> = deliveries.into_iter().map(DeliveryView::from).collect();
    Ok((AppendHeaders(link.map(|link| (header::LINK, link))), Json(views)).into_response())
}

/// `GET /deliveries/{id}`
pub async fn show(State(api): State<Arc<Api>>, _caller: Caller, path: DeliveryPath) -> Result<Response, Error> {
    Ok(Json(DeliveryView::from(find(&api, path).await?)).into_response())
}

/// `POST /deliveries/{id}/replay`: a new job, as if the delivery came now for the first time.
pub async fn replay(
    State(api): State<Arc<Api>>,
    caller: Caller,
    DeliveryPath(id): DeliveryPath,
) -> Result<Response, Error> {
    let job = api.intake.replay(id, caller.by()).await?;
    views::job(StatusCode::CREATED, &job)
}

async fn find(api: &Api, DeliveryPath(id): DeliveryPath) -> Result<Delivery, Error> {
    api.store.delivery(id).await?.ok_or_else(|| Error::UnknownDelivery(id.to_string()))
}
