//! The HTTP client for LFS. Servers say where its requests go, and the requests may carry credentials. Redirects are
//! therefore followed here, so that credentials stay on their server.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};
use zeroize::Zeroizing;

use crate::git::{Fault, GitError};
use crate::outbound::{self, BodyError, Route, chain, is_local_or_forbidden, read_limited};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest silence of a server, as in Git's own low-speed limit.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const REDIRECTS: usize = 5;
/// Longest JSON answer: 100 objects take 100 KB with long signatures.
const LONGEST_ANSWER: usize = 4 << 20;
pub const JSON: &str = "application/vnd.git-lfs+json";

/// The clients. Each is made at its first use, because reading the system's authorities takes 20 ms and some memory.
#[derive(Debug, Default)]
pub struct LfsClients {
    anywhere: Mutex<Option<Client>>,
    outward: Mutex<Option<Client>>,
}

/// A client, and the rule where its requests may go.
#[derive(Debug, Clone)]
pub struct LfsClient {
    client: Client,
    /// True if this machine and its networks are forbidden, because a payload named the server.
    is_outward: bool,
}

impl LfsClients {
    /// Returns a client that trusts the authorities in this file, or the system's if there is none.
    pub fn client(&self, is_outward: bool, authorities: Option<&Path>) -> Result<LfsClient, GitError> {
        let place = if is_outward { &self.outward } else { &self.anywhere };
        let mut place = place.lock().unwrap_or_else(PoisonError::into_inner);
        let client = match &*place {
            Some(client) => client.clone(),
            None => {
                let client = client(is_outward, authorities)
                    .map_err(|error| GitError::io("the HTTP client cannot be made", chain(&error)))?;
                place.insert(client).clone()
            }
        };
        Ok(LfsClient { client, is_outward })
    }

    /// Makes new clients from now on, because the authorities have changed.
    pub fn forget(&self) {
        for place in [&self.anywhere, &self.outward] {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

fn client(is_outward: bool, authorities: Option<&Path>) -> Result<Client, reqwest::Error> {
    // Git does not know a proxy either, because its environment is cleared.
    let route = if is_outward { Route::Filtered(is_local_or_forbidden) } else { Route::Direct };
    let client = outbound::client(route).connect_timeout(CONNECT_TIMEOUT).read_timeout(READ_TIMEOUT);
    outbound::trust_bundle(client, authorities)?.build()
}

impl LfsClient {
    /// Sends a request (a POST if there is a body) and follows redirects. The headers go only to the URL's own server.
    /// Any status is a success. An error shows no URL, because the URL may be signed.
    pub async fn send(&self, url: &Url, headers: &HeaderMap, body: Option<&str>) -> Result<Response, GitError> {
        let (mut url, mut headers) = (url.clone(), headers.clone());
        for _ in 0..=REDIRECTS {
            self.check(&url)?;
            let mut request = match body {
                Some(body) => self.client.post(url.clone()).header(CONTENT_TYPE, JSON).body(body.to_owned()),
                None => self.client.get(url.clone()),
            };
            if body.is_some() {
                request = request.header(ACCEPT, JSON);
            }
            let response = request.headers(headers.clone()).send().await.map_err(|error| broken(&url, error))?;
            let Some(next) = target(&response, body.is_some()) else { return Ok(response) };
            if next.scheme() != "https" && url.scheme() == "https" {
                return Err(GitError::refused(format!("{} sends us on from https to {}", host(&url), next.scheme())));
            }
            if next.origin() != url.origin() {
                headers.clear();
            }
            url = next;
        }
        Err(GitError::refused(format!("{} sends us on in circles", host(&url))))
    }

    /// Returns true if the repository named the server, so that it gets none of our logins.
    pub fn is_outward(&self) -> bool {
        self.is_outward
    }

    fn check(&self, url: &Url) -> Result<(), GitError> {
        match url.scheme() {
            "https" | "http" if !self.is_outward => Ok(()),
            "https" if !outbound::literal(url).is_some_and(is_local_or_forbidden) => Ok(()),
            "https" | "http" => {
                Err(GitError::refused(format!("its LFS server sends us to {}, which is refused", host(url))))
            }
            scheme => Err(GitError::refused(format!("its LFS server sends us to a {scheme} URL, which is refused"))),
        }
    }
}

fn target(response: &Response, is_post: bool) -> Option<Url> {
    let followed = match response.status() {
        StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => true,
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND | StatusCode::SEE_OTHER => !is_post,
        _ => false,
    };
    outbound::location(response).filter(|_| followed)
}

/// Reads the body of a JSON answer.
pub async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, GitError> {
    let url = response.url().clone();
    read_limited(&mut response, LONGEST_ANSWER).await.map_err(|error| match error {
        BodyError::TooLong => {
            GitError::refused(format!("{} answers with more than {LONGEST_ANSWER} bytes", host(&url)))
        }
        BodyError::Broken(error) => broken(&url, error),
    })
}

/// Returns the host, with the port if the URL has one.
pub fn host(url: &Url) -> String {
    let name = url.host_str().unwrap_or_default();
    url.port().map_or(name.to_owned(), |port| format!("{name}:{port}"))
}

/// Returns true if asking again may help.
pub fn is_transient_status(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status.as_u16(), 408 | 429)
}

pub fn broken(url: &Url, error: reqwest::Error) -> GitError {
    let is_ours = error.is_builder();
    let why = chain(&error.without_url());
    let message =
        format!("{} cannot be reached, or broke the connection off ({why}): try again when it is there", host(url));
    GitError { exit_code: 1, message, fault: Fault::server_if(!is_ours) }
}

/// Makes headers of those that a server gave. Their values are marked as secrets.
pub fn headers<'a>(given: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<HeaderMap, GitError> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let (name, value) = (name.parse::<reqwest::header::HeaderName>(), HeaderValue::from_str(value));
        let (Ok(name), Ok(mut value)) = (name, value) else {
            return Err(GitError::refused("its LFS server gives a header that is none"));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_a_payload_named_leads_nowhere_inward() {
        let http = LfsClients::default();
        let (outward, anywhere) = (http.client(true, None).unwrap(), http.client(false, None).unwrap());
        for url in [
            "http://example.com/",
            "https://127.0.0.1:1/",
            "https://[::1]:1/",
            "https://169.254.169.254/latest",
            "https://0x7f.1:1/",
            "https://[::ffff:127.0.0.1]:1/",
            "https://localhost:1/",
            "file:///etc/passwd",
        ] {
            let error = outward.send(&url.parse().unwrap(), &HeaderMap::new(), None).await.unwrap_err();
            assert!(error.message.contains("which is refused"), "{url}: {error}");
        }
        // The operator's own server may be on this machine.
        let error = anywhere.send(&"http://127.0.0.1:1/?signed=1".parse().unwrap(), &HeaderMap::new(), None).await;
        let error = error.unwrap_err();
        assert!(error.is_transient() && error.message.contains("127.0.0.1:1 cannot be reached"), "{error}");
        assert!(!error.message.contains("signed"), "{error}");
    }
}
