use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use bytes::Bytes;

use super::{Canaries, Served, eventually};

/// One request that came.
#[derive(Debug, Clone)]
pub struct Received {
    pub uri: Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// A server that keeps every request, for what the daemon sends out.
pub struct Capture {
    server: Served,
    state: Arc<Kept>,
}

#[derive(Default)]
struct Kept {
    requests: Mutex<Vec<Received>>,
    answers: Mutex<VecDeque<u16>>,
}

impl Capture {
    /// Starts a server that answers with these statuses, one a request, then with 204. It gives no answer for a 0.
    pub fn start(answers: &[u16]) -> Self {
        let state = Arc::new(Kept { answers: Mutex::new(answers.iter().copied().collect()), ..Kept::default() });
        Self { server: Served::start(axum::Router::new().fallback(keep).with_state(state.clone())), state }
    }

    pub fn url(&self) -> String {
        format!("http://{}/hook", self.server.address)
    }

    pub fn requests(&self) -> Vec<Received> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Waits for `count` requests and returns them.
    pub async fn wait(&self, count: usize, limit: Duration) -> Vec<Received> {
        let what = format!("{count} requests have come");
        eventually(limit, &what, async || {
            let requests = self.requests();
            (requests.len() >= count).then_some(requests)
        })
        .await
    }
}

impl Drop for Capture {
    /// Asserts that no request shows a secret.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        let known = Canaries::known();
        for Received { uri, headers, body } in self.requests() {
            let text = format!("{uri} {headers:?} {}", String::from_utf8_lossy(&body));
            assert!(known.found_in(text.as_bytes()).is_empty(), "a secret was sent: {text}");
        }
    }
}

async fn keep(State(state): State<Arc<Kept>>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    state.requests.lock().unwrap().push(Received { uri, headers, body });
    let answer = state.answers.lock().unwrap().pop_front().unwrap_or(204);
    if answer == 0 {
        std::future::pending::<()>().await;
    }
    StatusCode::from_u16(answer).unwrap()
}
