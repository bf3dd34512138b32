//! The requests that no route takes, by their path or their method. api.md has the order: an exact route, then the doors that
//! take any address, then totem's 404 or 405.

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse, Response};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::error::ApiError;

/// Header by whose presence Conveyor knew a webhook, at whatever path and by whatever method.
pub const EVENT: &str = "x-github-event";

/// The doors that take any address, as far as DIALECTS opens them.
#[derive(Clone, Default)]
pub struct Doors {
    pub compose_ci: Option<Router>,
    pub conveyor: Option<Router>,
}

impl Doors {
    /// Returns the door of a request. A `POST` with neither a token nor Conveyor's header is compose-ci's, which refuses it.
    fn of(self, request: &Request) -> Option<Router> {
        let compose_ci = self.compose_ci.filter(|_| request.method() == Method::POST);
        let conveyor = self.conveyor.filter(|_| request.headers().contains_key(EVENT));
        if has_token(request.uri()) { compose_ci.or(conveyor) } else { conveyor.or(compose_ci) }
    }
}

/// Returns true if the query has the parameter `token`, as that of a webhook of compose-ci has.
pub fn has_token(uri: &Uri) -> bool {
    form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).any(|(name, _)| name == "token")
}

/// Answers a request that no route takes. A further door that takes any address has its place here, in the order of api.md.
pub async fn answer(request: Request, doors: Doors, otherwise: fn(&Request) -> ApiError) -> Response {
    match doors.of(&request) {
        Some(door) => match TowerToHyperService::new(door).call(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        },
        None => otherwise(&request).into_response(),
    }
}
