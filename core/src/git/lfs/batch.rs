//! The batch API (`docs/api/batch.md`), which says where objects are, and the basic transfer
//! (`docs/api/basic-transfers.md`), which fetches them.

use std::collections::{BTreeMap, HashMap};

use futures_util::{StreamExt, TryStreamExt, stream};
use reqwest::{StatusCode, Url};
use serde::{Deserialize, Serialize};

use super::http::{self, body, broken, host, is_transient_status};
use super::incoming::{Incoming, not_stored};
use super::server::LfsServer;
use super::{AT_ONCE, BATCH, LfsStore, WantedObject};
use crate::git::errors::{LFS_LOGIN, LFS_TROUBLE, MISSING_LFS_FILE, NO_LFS};
use crate::git::{Fault, GitError};
use crate::model::RepoName;

#[derive(Serialize)]
struct BatchRequest {
    operation: &'static str,
    transfers: [&'static str; 1],
    hash_algo: &'static str,
    objects: Vec<BatchObject>,
}

#[derive(Serialize)]
struct BatchObject {
    oid: String,
    size: u64,
}

#[derive(Deserialize)]
struct BatchAnswer {
    #[serde(default)]
    transfer: Option<String>,
    objects: Vec<BatchAnswerObject>,
}

#[derive(Deserialize)]
struct BatchAnswerObject {
    oid: String,
    #[serde(default)]
    actions: Option<ObjectActions>,
    #[serde(default)]
    error: Option<LfsErrorBody>,
}

#[derive(Deserialize)]
struct ObjectActions {
    #[serde(default)]
    download: Option<DownloadAction>,
}

/// URL of an object, and the headers of its request.
#[derive(Deserialize)]
pub struct DownloadAction {
    href: String,
    #[serde(default)]
    header: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct LfsErrorBody {
    #[serde(default)]
    code: u16,
    message: String,
}

impl LfsServer {
    /// Fetches these objects into the store. An object that the store has for others is fetched, too, because a server's word
    /// that it has an object proves nothing.
    pub async fn fetch_all(
        &self,
        wanted: &[WantedObject],
        repo: &RepoName,
        store: &LfsStore,
        access: &str,
    ) -> Result<(), GitError> {
        for wanted in wanted.chunks(BATCH) {
            let actions = self.batch(wanted, repo).await?;
            let fetch = |(object, action)| self.fetch(object, action, store, access);
            let fetches: Vec<_> = wanted.iter().zip(actions).map(fetch).collect();
            stream::iter(fetches).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }

    /// Asks where these objects are. The answers are in the order of the objects.
    async fn batch(&self, wanted: &[WantedObject], repo: &RepoName) -> Result<Vec<DownloadAction>, GitError> {
        let objects =
            wanted.iter().map(|wanted| BatchObject { oid: wanted.oid.to_string(), size: wanted.size }).collect();
        let request = BatchRequest { operation: "download", transfers: ["basic"], hash_algo: "sha256", objects };
        let request = serde_json::to_string(&request).map_err(|error| GitError::io("a request", error))?;
        let response = self.client.send(&self.url, &self.headers, Some(&request)).await?;
        let (status, host) = (response.status(), host(&self.url));
        let body = body(response).await?;
        if !status.is_success() {
            let said = serde_json::from_slice::<LfsErrorBody>(&body).map(|refusal| shown(&refusal.message));
            let said = said.unwrap_or_default();
            let refusal = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => LFS_LOGIN,
                StatusCode::NOT_FOUND => NO_LFS,
                _ => LFS_TROUBLE,
            };
            let message = refusal.text(&[&host, &repo, &format!("{status}{said}")]);
            let fault = match status {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.client.is_outward() => Fault::Config,
                _ => Fault::server_if(is_transient_status(status)),
            };
            return Err(GitError { exit_code: 1, message, fault });
        }
        let answer: BatchAnswer = serde_json::from_slice(&body)
            .map_err(|_| GitError::refused(format!("{host} does not answer like an LFS server: is {repo} there?")))?;
        if let Some(transfer) = answer.transfer.filter(|transfer| transfer != "basic") {
            let message = format!("{host} gives the LFS files of {repo} by {:?} only, not by basic", shown(&transfer));
            return Err(GitError::refused(message));
        }
        let mut given: HashMap<_, _> = answer.objects.into_iter().map(|given| (given.oid.clone(), given)).collect();
        wanted
            .iter()
            .map(|object| match given.remove(&object.oid.to_string()) {
                Some(BatchAnswerObject { error: Some(LfsErrorBody { code, message }), .. }) => Err(GitError {
                    exit_code: 1,
                    message: MISSING_LFS_FILE.text(&[&host, object, &repo, &format!("{code}{}", shown(&message))]),
                    fault: Fault::server_if(StatusCode::from_u16(code).is_ok_and(is_transient_status)),
                }),
                Some(BatchAnswerObject { actions: Some(ObjectActions { download: Some(action) }), .. }) => Ok(action),
                _ => Err(GitError::refused(format!("{host} does not say where {object} of {repo} is"))),
            })
            .collect()
    }

    async fn fetch(
        &self,
        wanted: &WantedObject,
        action: DownloadAction,
        store: &LfsStore,
        access: &str,
    ) -> Result<(), GitError> {
        self.download(wanted, &action, store).await?;
        store.grant(&wanted.oid, access).map_err(|error| not_stored(wanted, &error))
    }

    async fn download(&self, wanted: &WantedObject, action: &DownloadAction, store: &LfsStore) -> Result<(), GitError> {
        let url = Url::parse(&action.href)
            .map_err(|error| GitError::refused(format!("{wanted} is at no valid URL: {error}")))?;
        let given = action.header.iter().flatten().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut response = self.client.send(&url, &http::headers(given)?, None).await?;
        let (status, host) = (response.status(), host(response.url()));
        if status != StatusCode::OK {
            let message = format!("{host} does not give out {wanted}: {status}");
            return Err(GitError { exit_code: 1, message, fault: Fault::server_if(is_transient_status(status)) });
        }
        let mut incoming = Incoming::new(wanted, store)?;
        let at = response.url().clone();
        while let Some(chunk) = response.chunk().await.map_err(|error| broken(&at, error))? {
            if !incoming.write(&chunk).await? {
                break;
            }
        }
        incoming.finish(&host, store).await
    }
}

/// Returns a server's words as the end of a line.
fn shown(message: &str) -> String {
    let line: String = message.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect();
    format!(": {}", line.trim())
}
