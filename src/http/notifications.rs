use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::{ApiCaller, RepoCaller};
use super::error::ApiError;
use super::extract::NotificationPath;
use super::ids;
use super::page::{self, PageRequest};
use super::{ApiState, answers, messages};
use crate::model::{JobId, Millis, NotificationState, Role};
use crate::store::{NotificationFilter, NotificationRecord};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct NotificationView<'a> {
    id: &'a str,
    job: JobId,
    channel: &'a str,
    /// Host of the destination, if a present setting names it.
    host: Option<String>,
    state: &'a str,
    attempts: u32,
    create_time: Millis,
    /// Time of the next try.
    next_time: Option<Millis>,
    /// Time when it was sent, replaced or given up.
    end_time: Option<Millis>,
    error: Option<&'a str>,
}

impl<'a> NotificationView<'a> {
    fn new(api: &ApiState, record: &'a NotificationRecord) -> Self {
        let is_due = record.state == NotificationState::Due;
        Self {
            id: &record.id,
            job: record.job,
            channel: &record.channel,
            host: (api.host_of)(&record.channel, &record.destination),
            state: record.state.as_str(),
            attempts: record.attempts,
            create_time: record.created,
            next_time: is_due.then_some(record.next),
            end_time: (!is_due).then_some(record.next),
            error: record.error.as_deref(),
        }
    }
}

#[derive(Deserialize)]
struct NotificationQuery {
    state: Option<String>,
    job: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /notifications?state=&job=&limit=&cursor=`: newest first. The cursor is the id of the last
/// notification of the page before.
pub async fn list(State(api): State<Arc<ApiState>>, caller: RepoCaller, uri: Uri) -> Result<Response, ApiError> {
    let NotificationQuery { state, job, limit, cursor } = page::query(&uri)?;
    let states = NotificationState::ALL.map(NotificationState::as_str).join(", ");
    let state: Option<NotificationState> =
        state.map(|state| state.parse()).transpose().map_err(|_| ApiError::with(&messages::BAD_STATE, states))?;
    let page = PageRequest::<Uuid>::read(limit, cursor, "notification")?;
    let job = match job {
        Some(job) => {
            let id = ids::job_id(&api, &job, &caller.limits).await?;
            Some(id.ok_or_else(|| ApiError::new(&messages::BAD_JOB_FILTER))?)
        }
        None => None,
    };
    let of = NotificationFilter { state, job, before: page.cursor.map(|id| id.to_string()), limits: caller.limits };
    let claim = api.answers.claim(answers::PAGE).await?;
    let mut records = api.store.notifications(&of, page.lookahead()).await?;
    let job = of.job.map(|job| job.to_string());
    let filters = [("state", of.state.map(NotificationState::as_str)), ("job", job.as_deref())];
    let link = page.cut(&mut records, |record| record.id.clone(), "/notifications", &filters);
    let views: Vec<NotificationView> = records.iter().map(|record| NotificationView::new(&api, record)).collect();
    let response = (AppendHeaders(link.map(|link| (header::LINK, link))), Json(views)).into_response();
    Ok(answers::held(response, claim).await)
}

/// `POST /notifications/{id}/replay`: sends a dead notification again.
pub async fn replay(
    State(api): State<Arc<ApiState>>,
    ApiCaller(caller): ApiCaller,
    NotificationPath(id): NotificationPath,
) -> Result<Response, ApiError> {
    if caller.role < Role::Admin {
        return Err(ApiError::new(&messages::REPLAY_ROLE));
    }
    let record = api.store.replay_notification(&id).await?;
    tracing::info!(job = %record.job, notification = id, by = caller.name, "a notification is sent again");
    Ok(Json(NotificationView::new(&api, &record)).into_response())
}
