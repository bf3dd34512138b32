use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};

use crate::intake::Refusal;
use crate::logs::secret_argument;
use crate::model::{NoDestination, NotificationState, Status};
use crate::store::StoreError;

use super::totem::request::invalid;

/// Why a request gets no answer of its own; the one place that knows status codes. The body is the original's:
/// `{"code":…,"message":…}`, the codes those of restify 2, the web framework it was written with.
#[derive(Debug)]
pub enum Error {
    UnknownJob(String),
    UnknownNotification(String),
    UnknownDelivery(String),
    UnknownPath(String),
    UnknownSchema(String),
    WrongMethod(Method),
    /// The body is not JSON, and why.
    BadJson(String),
    /// The body is JSON, but not what is wanted.
    Invalid(Vec<Violation>),
    /// A query parameter, or a part of the request that is no JSON.
    Argument(String),
    MediaType,
    /// The body is longer than so many bytes.
    TooLarge(usize),
    /// The body did not come in time.
    SlowBody,
    /// Too many large bodies are on their way.
    Busy,
    /// The answer did not get ready in time.
    Timeout,
    Signature,
    NoHookSecret,
    Credentials,
    Forbidden(String),
    /// The job has ended.
    Ended(Status),
    /// The notification is in this state.
    NotDead(NotificationState),
    /// The job has not ended.
    Unfinished(Status),
    /// The log has only so many bytes.
    Range(u64),
    /// Nothing can be stored now, as on a full disk; the cause is for the log alone.
    Unstorable(String),
    /// Ours; the cause is for the log alone.
    Internal(String),
}

/// One thing that is wrong with a body, the way the original's validator (z-schema 2) says it.
#[derive(Debug, Serialize, PartialEq)]
pub struct Violation {
    pub code: &'static str,
    pub message: String,
    /// A JSON pointer behind `#`; that of an object's missing property is the object's.
    pub path: String,
    pub params: Value,
}

/// Rides on an answer to the envelope, which logs it.
#[derive(Clone)]
pub struct Cause(pub String);

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(status) => Self::Ended(status),
            StoreError::NoJob(id) => Self::UnknownJob(id.to_string()),
            StoreError::NoNotification(id) => Self::UnknownNotification(id),
            StoreError::NotDead(state) => Self::NotDead(state),
            StoreError::Full { .. } | StoreError::ReadOnly { .. } | StoreError::Slow { .. } | StoreError::Closed => {
                Self::Unstorable(error.to_string())
            }
            other => Self::Internal(format!("the store: {other}")),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Repository(name) => {
                Self::Forbidden(format!("{} is not built here: ALLOW_REPOS does not name it", shortened(&name)))
            }
            Refusal::Base => {
                Self::Forbidden("Another dockerRepoBase than the configured one needs the role admin".into())
            }
            Refusal::SecretArguments(names) => {
                let invalid = |name: &String| invalid(secret_argument(name), format!("#/buildArgs/{name}"));
                Self::Invalid(names.iter().map(invalid).collect())
            }
            Refusal::Destination(error) => error.into(),
            Refusal::UnknownJob(id) => Self::UnknownJob(id.to_string()),
            Refusal::UnknownDelivery(id) => Self::UnknownDelivery(id.to_string()),
            Refusal::Unfinished(status) => Self::Unfinished(status),
            Refusal::Store(error) => error.into(),
        }
    }
}

impl From<NoDestination> for Error {
    fn from(error: NoDestination) -> Self {
        match error {
            NoDestination::Invalid(_) => Self::Invalid(vec![invalid(error.to_string(), "#/image".into())]),
            NoDestination::NotAllowed { .. } => Self::Forbidden(error.to_string()),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let (status, code, message) = match &self {
            Self::UnknownJob(id) => {
                (404, "ResourceNotFound", format!("Unable to locate job with id: {}", shortened(id)).into())
            }
            Self::UnknownNotification(id) => {
                (404, "ResourceNotFound", format!("Unable to locate notification with id: {}", shortened(id)).into())
            }
            Self::UnknownDelivery(id) => {
                (404, "ResourceNotFound", format!("Unable to locate delivery with id: {}", shortened(id)).into())
            }
            Self::UnknownPath(path) => (404, "ResourceNotFound", format!("{} does not exist", shortened(path)).into()),
            Self::UnknownSchema(name) => {
                (404, "ResourceNotFound", format!("Unable to locate schema: {}", shortened(name)).into())
            }
            Self::WrongMethod(method) => {
                (405, "MethodNotAllowedError", format!("{} is not allowed", shortened(method.as_str())).into())
            }
            Self::BadJson(why) => (400, "InvalidContent", format!("Invalid JSON: {why}").into()),
            Self::Invalid(violations) => (400, "InvalidContent", json!(violations)),
            Self::Argument(why) => (400, "InvalidArgument", why.as_str().into()),
            Self::MediaType => (
                415,
                "UnsupportedMediaTypeError",
                "Send the job as application/json or application/vnd.sh.melt.cdp.if.job-create.v1+json".into(),
            ),
            Self::TooLarge(limit) => {
                (413, "RequestEntityTooLargeError", format!("The body is longer than {limit} bytes").into())
            }
            Self::SlowBody => (408, "RequestTimeoutError", "The body did not come in time".into()),
            Self::Busy => {
                (503, "ServiceUnavailableError", "Too many large requests are on their way: send it again later".into())
            }
            Self::Timeout => {
                (503, "ServiceUnavailableError", "The answer did not get ready in time: send it again later".into())
            }
            Self::Signature => (
                401,
                "InvalidCredentials",
                "Mismatch in computed signature and the passed signature of the request payload.".into(),
            ),
            Self::NoHookSecret => (
                503,
                "ServiceUnavailableError",
                "Webhooks are not accepted yet: set HOOK_SECRET here, and the same secret in the hook's settings"
                    .into(),
            ),
            Self::Credentials => (
                401,
                "InvalidCredentials",
                "A valid token is needed, as Authorization: Bearer TOKEN or as the password of basic authentication"
                    .into(),
            ),
            Self::Forbidden(why) => (403, "NotAuthorized", why.as_str().into()),
            Self::Ended(status) => {
                (409, "ConflictError", format!("The job has ended already: {}", status.as_str()).into())
            }
            Self::NotDead(state) => (
                409,
                "ConflictError",
                format!("The notification is {}: only a dead one is sent again", state.as_str()).into(),
            ),
            Self::Unfinished(status) => {
                (409, "ConflictError", format!("The job has not ended yet: {}", status.as_str()).into())
            }
            Self::Range(len) => {
                (416, "RequestedRangeNotSatisfiableError", format!("The log has {len} bytes so far").into())
            }
            Self::Unstorable(_) => {
                (503, "ServiceUnavailableError", "Nothing can be stored now: send it again later".into())
            }
            Self::Internal(_) => (500, "InternalError", Value::Null),
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(json!({ "code": code, "message": message }))).into_response();
        let headers = response.headers_mut();
        match &self {
            Self::Credentials => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            Self::Range(len) => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{len}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            Self::Busy | Self::Timeout | Self::Unstorable(_) => {
                headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
            }
            _ => {}
        }
        if let Self::Unstorable(cause) | Self::Internal(cause) = self {
            response.extensions_mut().insert(Cause(cause));
        }
        response
    }
}

/// What the sender wrote, short enough to say back.
pub fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

pub async fn unknown_path(uri: Uri) -> Error {
    Error::UnknownPath(uri.path().into())
}

pub async fn wrong_method(method: Method) -> Error {
    Error::WrongMethod(method)
}
