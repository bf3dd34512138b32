//! Lists the webhook deliveries of pushes, and replays one. Of a delivery's headers and body, only what its job
//! was made of is kept.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::RepoCaller;
use super::error::ApiError;
use super::extract::DeliveryPath;
use super::ids;
use super::page::{self, PageRequest};
use super::totem::views;
use super::{ApiState, answers};
use crate::model::{CommitId, Forge, JobContext, JobId, Millis, SkipReason};
use crate::store::{Delivery, IdTable};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryView {
    id: Uuid,
    route: String,
    forge: Forge,
    event: String,
    /// The sender's id of the delivery.
    delivery_id: Option<String>,
    /// SHA-256 of the body, hex.
    digest: String,
    receive_time: Millis,
    owner: String,
    repo: String,
    r#ref: String,
    before: Option<CommitId>,
    after: String,
    job: Option<JobId>,
    /// The reason why there is no job.
    skipped: Option<SkipReason>,
    /// Number of times that it came again within 24 hours. `repeat_time` is the last of them.
    repeats: u32,
    repeat_time: Option<Millis>,
}

impl From<Delivery> for DeliveryView {
    fn from(delivery: Delivery) -> Self {
        let JobContext { owner, repo, branch, commit, .. } = delivery.context;
        Self {
            id: delivery.id,
            route: delivery.route,
            forge: delivery.forge,
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
            skipped: delivery.skipped,
            repeats: delivery.repeats,
            repeat_time: delivery.repeated,
        }
    }
}

#[derive(Deserialize)]
struct DeliveryQuery {
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /deliveries?limit=&cursor=`: newest first. The cursor is the id of the last delivery of the page before.
pub async fn list(State(api): State<Arc<ApiState>>, caller: RepoCaller, uri: Uri) -> Result<Response, ApiError> {
    let DeliveryQuery { limit, cursor } = page::query(&uri)?;
    let page = PageRequest::read(limit, cursor, "delivery")?;
    let claim = api.answers.claim(answers::PAGE).await?;
    let mut deliveries = api.store.deliveries(&caller.limits, page.lookahead(), page.cursor).await?;
    let link = page.cut(&mut deliveries, |delivery| delivery.id, "/deliveries", &[]);
    let views: Vec<DeliveryView> = deliveries.into_iter().map(DeliveryView::from).collect();
    let response = (AppendHeaders(link.map(|link| (header::LINK, link))), Json(views)).into_response();
    Ok(answers::held(response, claim).await)
}

/// `GET /deliveries/{id}`
pub async fn show(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: DeliveryPath,
) -> Result<Response, ApiError> {
    Ok(Json(DeliveryView::from(find(&api, &caller, path).await?)).into_response())
}

/// `POST /deliveries/{id}/replay`: a new job, as if the delivery came now for the first time.
pub async fn replay(
    State(api): State<Arc<ApiState>>,
    caller: RepoCaller,
    path: DeliveryPath,
) -> Result<Response, ApiError> {
    let id = find(&api, &caller, path).await?.id;
    let job = api.intake.replay(id, caller.requester()).await?;
    views::waiting_job(&api, StatusCode::CREATED, &job).await
}

/// Returns the delivery. One for a repository that the token is not for looks like none.
async fn find(api: &ApiState, caller: &RepoCaller, DeliveryPath(text): DeliveryPath) -> Result<Delivery, ApiError> {
    let id = ids::whole_id(api, IdTable::Deliveries, &text, &caller.limits).await?;
    let repository = |delivery: &Delivery| format!("{}/{}", delivery.context.owner, delivery.context.repo);
    let found = match id {
        Some(id) => api.store.delivery(id).await?.filter(|delivery| caller.may_see(api, &repository(delivery))),
        None => None,
    };
    found.ok_or_else(|| ApiError::unknown_delivery(&text))
}
