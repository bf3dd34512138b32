//! HipChat's and Slack's servers, as far as they are written to.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};

use super::Served;

#[derive(Default)]
struct Room {
    /// The answers to the first messages: a status, and the value of `Retry-After`.
    faults: Mutex<VecDeque<(u16, Option<u32>)>>,
    messages: Mutex<Vec<Value>>,
    /// The reasons for which requests were refused.
    refused: Mutex<Vec<String>>,
}

impl Room {
    fn fault(&self) -> Option<Response> {
        let (status, rest) = self.faults.lock().unwrap().pop_front()?;
        let status = StatusCode::from_u16(status).unwrap();
        let rest = rest.map(|seconds| [("Retry-After", seconds.to_string())]);
        Some(rest.map_or_else(|| status.into_response(), |rest| (status, rest).into_response()))
    }

    fn refuse(&self, status: u16, why: impl ToString) -> Response {
        self.refused.lock().unwrap().push(why.to_string());
        (StatusCode::from_u16(status).unwrap(), why.to_string()).into_response()
    }
}

/// HipChat's `POST /v2/room/{room}/notification` with one room.
pub struct HipChat {
    server: Served,
    room: Arc<Room>,
}

impl HipChat {
    pub const TOKEN: &str = "hipchat-room-token";
    pub const ROOM: &str = "The builds";

    pub fn start(faults: &[(u16, Option<u32>)]) -> Self {
        let room = Arc::new(Room { faults: Mutex::new(faults.iter().copied().collect()), ..Room::default() });
        let routes = axum::Router::new().route("/v2/room/{room}/notification", post(notify));
        Self { server: Served::start(routes.with_state(room.clone())), room }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.server.address)
    }

    pub fn messages(&self) -> Vec<Value> {
        self.room.messages.lock().unwrap().clone()
    }

    /// Returns the reasons for which requests were refused.
    pub fn refused(&self) -> Vec<String> {
        self.room.refused.lock().unwrap().clone()
    }
}

async fn notify(
    State(room): State<Arc<Room>>,
    Path(name): Path<String>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let error = |code: u16, message: &str| {
        room.refuse(code, json!({"error": {"code": code, "message": message, "type": "Refused"}}))
    };
    if uri.query().is_some() {
        return error(400, "a token in the URL is in every log");
    }
    if headers.get("authorization").is_none_or(|token| token != &format!("Bearer {}", HipChat::TOKEN)) {
        return error(401, "Invalid OAuth session");
    }
    if name != HipChat::ROOM {
        return error(404, "Room not found");
    }
    if let Some(fault) = room.fault() {
        return fault;
    }
    let Ok(payload) = serde_json::from_slice::<Value>(&body) else { return error(400, "no JSON") };
    let length = payload["message"].as_str().map_or(0, |message| message.chars().count());
    let colors = ["yellow", "green", "red", "purple", "gray", "random"];
    let fits = (1..=10_000).contains(&length)
        && payload["color"].as_str().is_some_and(|color| colors.contains(&color))
        && payload["notify"].is_boolean()
        && matches!(payload["message_format"].as_str(), Some("html" | "text"))
        && headers.get("content-type").is_some_and(|kind| kind == "application/json");
    if !fits {
        return error(400, "The request body is invalid.");
    }
    room.messages.lock().unwrap().push(payload);
    StatusCode::NO_CONTENT.into_response()
}

/// An incoming webhook of Slack's.
pub struct Slack {
    server: Served,
    room: Arc<Room>,
}

impl Slack {
    pub const SECRET: &str = "XXXXXXXXXXXXXXXXXXXXXXXX";

    pub fn start(faults: &[(u16, Option<u32>)]) -> Self {
        let room = Arc::new(Room { faults: Mutex::new(faults.iter().copied().collect()), ..Room::default() });
        let routes = axum::Router::new().route("/services/T0/B0/{secret}", post(hook));
        Self { server: Served::start(routes.with_state(room.clone())), room }
    }

    pub fn url(&self) -> String {
        format!("http://{}/services/T0/B0/{}", self.server.address, Self::SECRET)
    }

    pub fn messages(&self) -> Vec<Value> {
        self.room.messages.lock().unwrap().clone()
    }

    /// Returns the reasons for which requests were refused.
    pub fn refused(&self) -> Vec<String> {
        self.room.refused.lock().unwrap().clone()
    }
}

async fn hook(State(room): State<Arc<Room>>, Path(secret): Path<String>, body: Bytes) -> Response {
    if secret != Slack::SECRET {
        return room.refuse(403, "invalid_token");
    }
    if let Some(fault) = room.fault() {
        return fault;
    }
    let Ok(Json(payload)) = Json::<Value>::from_bytes(&body) else { return room.refuse(400, "invalid_payload") };
    let attachments = payload["attachments"].as_array().map_or(0, Vec::len);
    if payload["text"].is_null() && attachments == 0 {
        return room.refuse(400, "no_text");
    }
    room.messages.lock().unwrap().push(payload);
    "ok".into_response()
}
