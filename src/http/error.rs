use std::sync::Arc;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::messages::{self, Message};
use super::violation::Violation;
use crate::intake::Refusal;
use crate::model::NoDestination;
use crate::store::StoreError;

/// Why a request is not answered as it asks. It has the facts alone: a dialect renders them (see `envelope`).
#[derive(Debug)]
pub enum ApiError {
    /// A message of the table, with the values that it names.
    Message(&'static Message, Vec<String>),
    /// The body is JSON, but not a valid request.
    Invalid(Vec<Violation>),
    /// The requested range begins behind the end of the log, which has this many bytes.
    Range(u64),
    /// Nothing can be stored now, for example because the disk is full. The cause is for the log alone.
    Unstorable(String),
    /// A fault of the daemon. The cause is for the log alone.
    Internal(String),
}

impl ApiError {
    pub fn new(message: &'static Message) -> Self {
        Self::Message(message, Vec::new())
    }

    pub fn with(message: &'static Message, value: impl Into<String>) -> Self {
        Self::Message(message, vec![value.into()])
    }

    pub fn unknown_job(id: &str) -> Self {
        Self::with(&messages::UNKNOWN_JOB, shortened(id))
    }

    pub fn unknown_delivery(id: &str) -> Self {
        Self::with(&messages::UNKNOWN_DELIVERY, shortened(id))
    }

    fn row(&self) -> &'static Message {
        match self {
            Self::Message(message, _) => message,
            Self::Invalid(_) => &messages::BAD_JSON,
            Self::Range(_) => &messages::RANGE,
            Self::Unstorable(_) => &messages::UNSTORABLE,
            Self::Internal(_) => &messages::INTERNAL,
        }
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.row().status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn code(&self) -> &'static str {
        self.row().code
    }

    /// Returns the message in one line. For a fault of the daemon it names the request alone.
    pub fn text(&self, request_id: &str) -> String {
        match self {
            Self::Message(message, values) => message.with(values.iter().map(String::as_str)),
            Self::Invalid(violations) => violations.iter().map(Violation::text).collect::<Vec<_>>().join("; "),
            Self::Range(len) => messages::RANGE.with([len.to_string().as_str()]),
            Self::Unstorable(_) => messages::UNSTORABLE.with([]),
            Self::Internal(_) => messages::INTERNAL.with([request_id]),
        }
    }

    /// The cause that only the log may show.
    pub fn cause(&self) -> Option<&str> {
        match self {
            Self::Unstorable(cause) | Self::Internal(cause) => Some(cause),
            _ => None,
        }
    }

    /// Adds the headers that belong to the status, whatever the dialect.
    pub fn add_headers(&self, headers: &mut HeaderMap) {
        match self {
            Self::Range(len) => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{len}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            _ if *self.row() == messages::CREDENTIALS => {
                headers.entry(header::WWW_AUTHENTICATE).or_insert(HeaderValue::from_static("Bearer"));
            }
            _ if self.row().status == 503 && *self.row() != messages::NO_HOOK_SECRET => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
    }
}

impl IntoResponse for ApiError {
    /// Returns an empty answer that carries the error to the layer that renders it.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(status) => Self::with(&messages::ENDED, status.as_str()),
            StoreError::NoJob(id) => Self::unknown_job(&id.to_string()),
            StoreError::Building(_) => Self::new(&messages::BUILDING),
            StoreError::NoNotification(id) => Self::with(&messages::UNKNOWN_NOTIFICATION, shortened(&id)),
            StoreError::NotDead(state) => Self::with(&messages::NOT_DEAD, state.as_str()),
            StoreError::Full { .. } | StoreError::ReadOnly { .. } | StoreError::Slow { .. } | StoreError::Closed => {
                Self::Unstorable(error.to_string())
            }
            other => Self::Internal(format!("the store: {other}")),
        }
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Repository(name) => Self::with(&messages::REPOSITORY, shortened(&name)),
            Refusal::Limited { repository, limits } => {
                Self::Message(&messages::OTHER_REPOSITORY, vec![limits, shortened(&repository)])
            }
            Refusal::Slash(property, name) => {
                let message = messages::SLASH.with([property, &*shortened(&name)]);
                Self::Invalid(vec![Violation::unusable(message, format!("#/{property}"))])
            }
            Refusal::ControlCharacter(property, name) => {
                let what = if property == "branch" { "branch or ref" } else { property };
                let name = shortened(&name).escape_debug().to_string();
                let message = messages::CONTROL_CHARACTER.with([what, &*name]);
                Self::Invalid(vec![Violation::unusable(message, format!("#/{property}"))])
            }
            Refusal::Base => Self::new(&messages::OTHER_BASE),
            Refusal::SecretArguments(names) => {
                let violation = |name: &String| {
                    Violation::unusable(messages::SECRET_ARGUMENT.with([&**name]), format!("#/build/buildArgs/{name}"))
                };
                Self::Invalid(names.iter().map(violation).collect())
            }
            Refusal::Destination(NoDestination::NotAllowed { image, own, repository }) => {
                Self::Message(&messages::IMAGE, vec![image.clone(), own, repository, image])
            }
            Refusal::SecretDockerfile => Self::new(&messages::SECRET_DOCKERFILE),
            Refusal::Destination(NoDestination::NotGranted(image)) => {
                Self::Message(&messages::NOT_GRANTED, vec![image.clone(), image])
            }
            Refusal::Destination(NoDestination::Invalid(why)) => {
                Self::Invalid(vec![Violation::unusable(messages::BAD_IMAGE.with([&*why]), "#/build/image".into())])
            }
            Refusal::UnknownJob(id) => Self::unknown_job(&id.to_string()),
            Refusal::UnknownDelivery(id) => Self::unknown_delivery(&id.to_string()),
            Refusal::Unfinished(status) => Self::with(&messages::UNFINISHED, status.as_str()),
            Refusal::Store(error) => error.into(),
        }
    }
}

/// Returns what the sender wrote, cut to 200 characters for an answer.
pub fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

pub fn unknown_path(request: &Request) -> ApiError {
    ApiError::with(&messages::UNKNOWN_PATH, shortened(request.uri().path()))
}

pub fn wrong_method(request: &Request) -> ApiError {
    ApiError::with(&messages::WRONG_METHOD, shortened(request.method().as_str()))
}
