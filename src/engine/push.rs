use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hyper::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::model::{ImageRef, LogSink};
use crate::secrets::RegistryAuth;

use super::Engine;
use super::api::connect::{invalid, no_body, request};
use super::api::errors::{EngineError, say};
use super::api::messages::{Line, Lines};

impl Engine {
    /// Gives the image with this id another name, which it takes from whatever had it.
    pub async fn tag(&self, id: &str, image: &ImageRef) -> Result<(), EngineError> {
        let path = format!("/images/{id}/tag?repo={}&tag={}", image.name(), image.tag());
        let request = request(Method::POST, &path).body(no_body()).map_err(invalid)?;
        self.host.send(request).await?.accepted().await.map(drop)
    }

    /// Pushes and returns `sha256:…` of the manifest. Dropping the future cancels the push. The
    /// engine itself tries again for about 50 s when a registry answers 5xx. It is not given `auth`
    /// for a registry that it may speak to without TLS beyond its own machine.
    pub async fn push(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        if auth.is_some() {
            self.refuse_exposed(image).await?;
        }
        let path = format!("/images/{}/push?tag={}", image.name(), image.tag());
        let request = request(Method::POST, &path).header("X-Registry-Auth", credentials(image, auth)?);
        let reply = self.host.send(request.body(no_body()).map_err(invalid)?).await?;
        let reply = reply.accepted().await?;
        let mut lines = Lines::new(reply);
        let mut progress = Progress::default();
        while let Some(line) = lines.next().await? {
            log.alive();
            if let Some(error) = line.error {
                return Err(EngineError::of_push(&error));
            }
            if let Some(text) = progress.line(&line, image.tag()) {
                say(log, &text);
            }
        }
        progress.digest.ok_or_else(|| EngineError::engine(format!("the engine pushed {image} without a digest")))
    }
}

/// The engine wants a value even without credentials.
fn credentials(image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<HeaderValue, EngineError> {
    auth_header(&auth.map_or(json!({}), |auth| auth_config(image.registry(), auth)))
}

/// The engine's `AuthConfig`.
pub(super) fn auth_config(server: &str, auth: &RegistryAuth) -> Value {
    match &auth.identity_token {
        Some(token) => json!({ "identitytoken": token.as_str(), "serveraddress": server }),
        None => json!({ "username": auth.username, "password": auth.password.as_str(), "serveraddress": server }),
    }
}

/// The engine wants URL-safe base64.
pub(super) fn auth_header(value: &Value) -> Result<HeaderValue, EngineError> {
    let mut value = HeaderValue::try_from(URL_SAFE.encode(value.to_string()))
        .map_err(|e| EngineError::engine(format!("the registry's credentials cannot be sent: {e}")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Default)]
struct Progress {
    digest: Option<String>,
    layers: HashMap<String, String>,
    retrying: bool,
}

impl Progress {
    /// What a line adds to the log: the end of each layer, and once that the engine tries again.
    fn line(&mut self, line: &Line, tag: &str) -> Option<String> {
        if let Some(digest) = line.aux["Digest"].as_str() {
            self.digest = Some(digest.into());
        }
        let status = line.status.as_str();
        if let Some(summary) = status.strip_prefix(tag).and_then(|rest| rest.strip_prefix(": digest: ")) {
            self.digest = summary.split(' ').next().map(str::to_owned);
        }
        if line.id.is_empty() {
            return (!status.is_empty()).then(|| status.to_owned());
        }
        if status.starts_with("Retrying in ") {
            let first = !std::mem::replace(&mut self.retrying, true);
            return first.then(|| format!("{}: {status}: the registry is in trouble, the engine tries again", line.id));
        }
        let ends = ["Pushed", "Layer already exists", "Mounted from"].iter().any(|end| status.starts_with(end));
        let news = ends && self.layers.insert(line.id.clone(), status.to_owned()).as_deref() != Some(status);
        news.then(|| format!("{}: {status}", line.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn log(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let mut progress = Progress::default();
        let lines = lines.iter().map(|line| serde_json::from_str::<Line>(line).unwrap());
        (lines.filter_map(|line| progress.line(&line, "v1")).collect(), progress.digest)
    }

    #[test]
    fn a_layer_is_a_line_and_the_digest_is_found() {
        let (text, digest) = log(&[
            r#"{"status":"The push refers to repository [127.0.0.1:5000/a]"}"#,
            r#"{"status":"Preparing","progressDetail":{},"id":"ab"}"#,
            r#"{"status":"Pushing","progressDetail":{"current":5,"total":9},"progress":"[=>]","id":"ab"}"#,
            r#"{"status":"Retrying in 5 seconds","progressDetail":{},"id":"ab"}"#,
            r#"{"status":"Retrying in 4 seconds","progressDetail":{},"id":"ab"}"#,
            r#"{"status":"Pushed","progressDetail":{},"id":"ab"}"#,
            r#"{"status":"Layer already exists","progressDetail":{},"id":"cd"}"#,
            r#"{"status":"v1: digest: sha256:12 size: 527"}"#,
        ]);
        assert_eq!(text.len(), 5, "{text:#?}");
        assert_eq!(text[2], "ab: Pushed");
        assert_eq!(digest.as_deref(), Some("sha256:12"));
        let (text, digest) = log(&[r#"{"progressDetail":{},"aux":{"Tag":"v1","Digest":"sha256:34","Size":527}}"#]);
        assert_eq!((text.len(), digest.as_deref()), (0, Some("sha256:34")));
    }

    #[test]
    fn credentials_are_url_safe_and_of_this_registry() {
        let image = ImageRef::parse("q.io/a:b").unwrap();
        let auth =
            RegistryAuth { username: "u".into(), password: Zeroizing::new("???>>>~~~".into()), identity_token: None };
        let value = credentials(&image, Some(&auth)).unwrap();
        assert!(value.is_sensitive());
        let decoded = URL_SAFE.decode(value.as_bytes()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&decoded).unwrap();
        assert_eq!(json, json!({ "username": "u", "password": "???>>>~~~", "serveraddress": "q.io" }));
        let none = credentials(&image, None).unwrap();
        assert_eq!(none, "e30=");
    }
}
