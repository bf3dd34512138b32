//! Tags and pushes images.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use hyper::{Method, header::HeaderValue};
use serde_json::{Value, json};

use crate::model::{ImageRef, LogSink};
use crate::secrets::RegistryAuth;

use super::advice::{self, with_cure};
use super::api::connect::{invalid, no_body, request};
use super::api::engine::Engine;
use super::api::errors::{EngineError, write_line};
use super::api::messages::{EngineMessage, MessageStream};

impl Engine {
    /// Gives another name to the image with this id. An image that had the name loses it.
    pub async fn tag(&self, id: &str, image: &ImageRef) -> Result<(), EngineError> {
        let path = format!("/images/{id}/tag?repo={}&tag={}", image.name(), image.tag());
        let request = request(Method::POST, &path).body(no_body()).map_err(invalid)?;
        self.send(request).await?.accepted().await.map(drop)
    }

    /// Pushes an image and returns the digest of its manifest (`sha256:…`). Dropping the future cancels the push. The
    /// engine itself retries for about 50 s if a registry answers 5xx. It is not given `auth` for a registry beyond
    /// its own machine that it may speak to without TLS.
    pub async fn push(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        log: &dyn LogSink,
    ) -> Result<String, EngineError> {
        let path = format!("/images/{}/push?tag={}", image.name(), image.tag());
        let request = request(Method::POST, &path).header("X-Registry-Auth", self.login_header(image, auth).await?);
        let reply = self.send(request.body(no_body()).map_err(invalid)?).await?;
        let reply = reply.accepted().await.map_err(EngineError::classify_push_refusal)?;
        let mut messages = MessageStream::new(reply);
        let mut progress = PushProgress::default();
        while let Some(message) = messages.next().await? {
            log.alive();
            if let Some(error) = message.error() {
                return Err(EngineError::from_push(error));
            }
            if let Some(text) = progress.add(&message, image.tag()) {
                write_line(log, &text);
            }
        }
        progress.digest.ok_or_else(|| EngineError::engine(with_cure(&advice::NO_DIGEST, &[image])))
    }
}

/// Makes the header of a push or a pull, which the engine expects even without credentials.
pub(super) fn credentials(image: &ImageRef, auth: Option<&RegistryAuth>) -> Result<HeaderValue, EngineError> {
    auth_header(&auth.map_or(json!({}), |auth| auth_config(image.registry(), auth)))
}

/// Makes the engine's `AuthConfig` of a login.
pub(super) fn auth_config(server: &str, auth: &RegistryAuth) -> Value {
    match (&auth.registry_token, &auth.identity_token) {
        (Some(token), _) => json!({ "registrytoken": token.as_str(), "serveraddress": server }),
        (None, Some(token)) => json!({ "identitytoken": token.as_str(), "serveraddress": server }),
        (None, None) => {
            json!({ "username": auth.username, "password": auth.password.as_str(), "serveraddress": server })
        }
    }
}

/// Encodes logins for a header, in the URL-safe base64 that the engine expects.
pub(super) fn auth_header(value: &Value) -> Result<HeaderValue, EngineError> {
    let mut value = HeaderValue::try_from(URL_SAFE.encode(value.to_string()))
        .map_err(|e| EngineError::engine(format!("the registry's credentials cannot be sent: {e}")))?;
    value.set_sensitive(true);
    Ok(value)
}

#[derive(Default)]
struct PushProgress {
    digest: Option<String>,
    layers: HashMap<String, String>,
    retrying: bool,
}

impl PushProgress {
    /// Returns the line that a message adds to the log: the end of each layer, and the first retry of the engine.
    fn add(&mut self, message: &EngineMessage, tag: &str) -> Option<String> {
        if let Some(digest) = message.aux["Digest"].as_str() {
            self.digest = Some(digest.into());
        }
        let status = message.status.as_str();
        if let Some(summary) = status.strip_prefix(tag).and_then(|rest| rest.strip_prefix(": digest: ")) {
            self.digest = summary.split(' ').next().map(str::to_owned);
        }
        if message.id.is_empty() {
            return (!status.is_empty()).then(|| status.to_owned());
        }
        if status.starts_with("Retrying in ") {
            let first = !std::mem::replace(&mut self.retrying, true);
            return first
                .then(|| format!("{}: {status}: the registry is in trouble, and the engine tries again", message.id));
        }
        let ends = ["Pushed", "Layer already exists", "Mounted from"].iter().any(|end| status.starts_with(end));
        let is_new = ends && self.layers.insert(message.id.clone(), status.to_owned()).as_deref() != Some(status);
        is_new.then(|| format!("{}: {status}", message.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn log(lines: &[&str]) -> (Vec<String>, Option<String>) {
        let mut progress = PushProgress::default();
        let lines = lines.iter().map(|line| serde_json::from_str::<EngineMessage>(line).unwrap());
        (lines.filter_map(|line| progress.add(&line, "v1")).collect(), progress.digest)
    }

    #[test]
    fn a_push_writes_one_line_per_layer_and_returns_the_digest() {
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
        let auth = RegistryAuth {
            username: "u".into(),
            password: Zeroizing::new("???>>>~~~".into()),
            ..RegistryAuth::default()
        };
        let value = credentials(&image, Some(&auth)).unwrap();
        assert!(value.is_sensitive());
        let decoded = URL_SAFE.decode(value.as_bytes()).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&decoded).unwrap();
        assert_eq!(json, json!({ "username": "u", "password": "???>>>~~~", "serveraddress": "q.io" }));
        // Docker takes the registry's token first, then the identity token, then the password.
        let mut auth = RegistryAuth { identity_token: Some("identity".to_owned().into()), ..auth };
        assert_eq!(auth_config("q.io", &auth), json!({ "identitytoken": "identity", "serveraddress": "q.io" }));
        auth.registry_token = Some("registry".to_owned().into());
        assert_eq!(auth_config("q.io", &auth), json!({ "registrytoken": "registry", "serveraddress": "q.io" }));
        let none = credentials(&image, None).unwrap();
        assert_eq!(none, "e30=");
    }
}
