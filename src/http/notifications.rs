use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::Caller;
use super::error::Error;
use super::page::{self, Page};
use super::{Api, Role};
use crate::model::{JobId, Millis, NotificationState};
use crate::store::{NotificationFilter, NotificationRecord};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    id: &'a str,
    job: JobId,
    channel: &'a str,
    /// Of its destination, if that is configured now.
    host: Option<String>,
    state: &'a str,
    attempts: u32,
    create_time: Millis,
    /// Of the next try.
    next_time: Option<Millis>,
    /// When it was sent, replaced or given up.
    end_time: Option<Millis>,
    error: Option<&'a str>,
}

impl<'a> View<'a> {
    fn new(api: &Api, letter: &'a NotificationRecord) -> Self {
        let is_due = letter.state == NotificationState::Due;
        Self {
            id: &letter.id,
            job: letter.job,
            channel: &letter.channel,
            host: (api.host_of)(&letter.channel, &letter.destination),
            state: letter.state.as_str(),
            attempts: letter.attempts,
            create_time: letter.created,
            next_time: is_due.then_some(letter.next),
            end_time: (!is_due).then_some(letter.next),
            error: letter.error.as_deref(),
        }
    }
}

#[derive(Deserialize)]
struct Listing {
    state: Option<String>,
    job: Option<String>,
    limit: Option<String>,
    cursor: Option<String>,
}

/// `GET /notifications?state=&job=&limit=&cursor=`: newest first; the cursor is the id of the page's last one.
pub async fn list(State(api): State<Arc<Api>>, _caller: Caller, uri: Uri) -> Result<Response, Error> {
    let Listing { state, job, limit, cursor } = page::query(&uri)?;
    let states = NotificationState::ALL.map(NotificationState::as_str).join(", ");
    let state: Option<NotificationState> = state
        .map(|state| state.parse())
        .transpose()
        .map_err(|_| Error::Argument(format!("state is one of {states}")))?;
    let page = Page::<Uuid>::read(limit, cursor, "notification")?;
    let job: Option<JobId> =
        job.map(|job| job.parse()).transpose().map_err(|_| Error::Argument("job is the id of a job".into()))?;
    let of = NotificationFilter { state, job, before: page.cursor.map(|id| id.to_string()) };
    let mut letters = api.store.notifications(&of, page.ahead()).await?;
    let job = of.job.map(|job| job.to_string());
    let filters = [("state", of.state.map(NotificationState::as_str)), ("job", job.as_deref())];
    let link = page.cut(&mut letters, |letter| letter.id.clone(), "/notifications", &filters);
    let views: Vec<View> = letters.iter().map(|letter| View::new(&api, letter)).collect();
    Ok((AppendHeaders(link.map(|link| (header::LINK, link))), Json(views)).into_response())
}

/// `POST /notifications/{id}/replay`: a dead one is sent again.
pub async fn replay(State(api): State<Arc<Api>>, caller: Caller, Path(id): Path<String>) -> Result<Response, Error> {
    if caller.role < Role::Admin {
        return Err(Error::Forbidden("Sending a notification again needs the role admin".into()));
    }
    let letter = api.store.replay_notification(&id).await?;
    tracing::info!(job = %letter.job, notification = id, by = caller.name, "notification is sent again");
    Ok(Json(View::new(&api, &letter)).into_response())
}
