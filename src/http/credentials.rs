use std::future::ready;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::header::InvalidHeaderValue;
use axum::http::{HeaderValue, header};
use axum::middleware::map_request;
use tokio::sync::watch;
use zeroize::Zeroizing;

use super::auth::{BasicDigest, Guard, Tokens};
use super::compose_ci::TokenDigest;
use crate::model::{ApiToken, BasicLogin};

/// The credentials that requests are checked by. They can be replaced while requests come. Clones share them.
#[derive(Clone)]
pub struct Credentials {
    set: watch::Sender<Arc<CredentialSet>>,
    pub(super) guard: Guard,
}

pub(super) struct CredentialSet {
    /// Secret of the webhooks. Without one they are refused.
    pub hook_secret: Option<Zeroizing<String>>,
    /// CI_TOKEN, as it is compared.
    pub ci_token: Option<TokenDigest>,
    pub tokens: Tokens,
    pub basic_auth: Option<BasicDigest>,
}

impl CredentialSet {
    fn new(
        hook_secret: Option<Zeroizing<String>>,
        ci_token: Option<&Zeroizing<String>>,
        tokens: &[ApiToken],
        basic_auth: Option<&BasicLogin>,
    ) -> Arc<Self> {
        let ci_token = ci_token.and_then(|token| TokenDigest::new(token));
        let (tokens, basic_auth) = (Tokens::new(tokens), basic_auth.map(BasicDigest::new));
        Arc::new(Self { hook_secret, ci_token, tokens, basic_auth })
    }
}

impl Credentials {
    pub(super) fn new(
        hook_secret: Option<Zeroizing<String>>,
        ci_token: Option<&Zeroizing<String>>,
        tokens: &[ApiToken],
        basic_auth: Option<&BasicLogin>,
        guard: Guard,
    ) -> Self {
        Self { set: watch::Sender::new(CredentialSet::new(hook_secret, ci_token, tokens, basic_auth)), guard }
    }

    /// Takes other credentials and other names of the daemon, for the requests that come from now on.
    pub fn replace(
        &self,
        hook_secret: Option<Zeroizing<String>>,
        ci_token: Option<&Zeroizing<String>>,
        tokens: &[ApiToken],
        basic_auth: Option<&BasicLogin>,
        hosts: &[String],
    ) {
        self.guard.set_hosts(hosts);
        self.set.send_replace(CredentialSet::new(hook_secret, ci_token, tokens, basic_auth));
    }

    /// Wakes those that wait for changes, because a token of the store was revoked.
    pub(super) fn token_revoked(&self) {
        self.set.send_modify(|_| {});
    }

    /// Returns a receiver of the changes after which a token may not be valid any more.
    pub(super) fn changes(&self) -> watch::Receiver<Arc<CredentialSet>> {
        self.set.subscribe()
    }

    pub(super) fn present(&self) -> Arc<CredentialSet> {
        self.set.borrow().clone()
    }
}

/// Returns the router for a socket that gives its peers the right of a token. A token that a request has goes first.
///
/// # Errors
/// The token cannot be in a header.
pub fn with_token(router: Router, token: &str) -> Result<Router, InvalidHeaderValue> {
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))?;
    value.set_sensitive(true);
    Ok(router.layer(map_request(move |mut request: Request| {
        request.headers_mut().entry(header::AUTHORIZATION).or_insert(value.clone());
        ready(request)
    })))
}
