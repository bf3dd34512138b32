use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::auth::Caller;
use super::error::Error;
use super::{Api, Role};
use crate::model::{JobId, Millis};
use crate::store::{Letter, Letters};

/// The most that one answer lists, and how many it lists when nobody says.
const PAGE: u32 = 1000;
const STATES: [&str; 4] = ["due", "sent", "replaced", "dead"];

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
    fn new(api: &Api, letter: &'a Letter) -> Self {
        let is_due = letter.state == "due";
        Self {
            id: &letter.id,
            job: letter.job,
            channel: &letter.channel,
            host: (api.host_of)(&letter.channel, &letter.destination),
            state: &letter.state,
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
    let Query(listing) =
        Query::try_from_uri(&uri).map_err(|error| Error::Argument(format!("The query cannot be read: {error}")))?;
    let Listing { state, job, limit, cursor } = listing;
    if state.as_ref().is_some_and(|state| !STATES.contains(&state.as_str())) {
        return Err(Error::Argument(format!("state is one of {}", STATES.join(", "))));
    }
    let limit = match limit {
        None => PAGE,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=PAGE).contains(limit))
            .ok_or_else(|| Error::Argument(format!("limit is a number from 1 to {PAGE}")))?,
    };
    let job: Option<JobId> =
        job.map(|job| job.parse()).transpose().map_err(|_| Error::Argument("job is the id of a job".into()))?;
    let before = cursor.map(|cursor| cursor.parse::<Uuid>()).transpose();
    let before = before.map_err(|_| Error::Argument("cursor is the id of a notification".into()))?;
    let of = Letters { state, job, before: before.map(|id| id.to_string()) };
    // One more than asked for tells whether there is another page.
    let mut letters = api.store.letters(&of, limit + 1).await?;
    let more = letters.len() > limit as usize;
    letters.truncate(limit as usize);
    let mut link = None;
    if let (true, Some(last)) = (more, letters.last()) {
        let state = of.state.map(|state| format!("&state={state}")).unwrap_or_default();
        let job = of.job.map(|job| format!("&job={job}")).unwrap_or_default();
        let next = format!(r#"</notifications?limit={limit}{state}{job}&cursor={}>; rel="next""#, last.id);
        link = Some([(header::LINK, next)]);
    }
    let views: Vec<View> = letters.iter().map(|letter| View::new(&api, letter)).collect();
    let body = Json(views);
    Ok(match link {
        Some(link) => (link, body).into_response(),
        None => body.into_response(),
    })
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
