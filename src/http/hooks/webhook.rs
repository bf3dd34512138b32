//! The forge and the event of a webhook, by its headers, and the text that its signature covers. Gitea's headers are
//! those of `services/webhook/deliver.go` of go-gitea/gitea, those of Gogs are in `internal/database/webhook.go`.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};

use crate::http::error::ApiError;
use crate::http::violation::Violation;
use crate::model::Forge;

/// Headers with the event's name. The first that a webhook has tells its forge: Gitea and Gogs send GitHub's header, too,
/// and Forgejo sends Gitea's.
const EVENTS: [(&str, Forge); 7] = [
    ("x-forgejo-event", Forge::Forgejo),
    ("x-gitea-event", Forge::Gitea),
    ("x-gogs-event", Forge::Gogs),
    ("x-github-event", Forge::GitHub),
    ("x-gitlab-event", Forge::GitLab),
    ("x-event-key", Forge::Bitbucket),
    ("x-gitee-event", Forge::Gitee),
];

/// Kind of a webhook, as its headers tell it. A signature covers no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookKind<'a> {
    pub forge: Forge,
    /// Name of the event in the forge's words; empty without a header.
    pub event: &'a str,
    pub is_form: bool,
}

impl<'a> WebhookKind<'a> {
    /// Reads the headers. A webhook with no forge's header counts as GitHub's.
    pub fn read(headers: &'a HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let found = EVENTS.iter().find_map(|&(name, forge)| Some((forge, text(name)?)));
        let (forge, event) = found.unwrap_or((Forge::GitHub, ""));
        let media_type = text(header::CONTENT_TYPE.as_str()).unwrap_or_default().to_ascii_lowercase();
        Self { forge, event, is_form: media_type.starts_with("application/x-www-form-urlencoded") }
    }

    /// Returns the text that the signature covers: the body, or the field `payload` of a form of Gitea, Forgejo or Gogs,
    /// which leave the form's other fields unsigned. A form without that field has an empty text.
    pub fn signed_text<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        match self.is_form && self.signs_payload() {
            true => field(body).unwrap_or_default(),
            false => body.into(),
        }
    }

    /// Returns the JSON in a signed text.
    ///
    /// # Errors
    /// A form without the field `payload`.
    pub fn json<'b>(&self, signed: &'b [u8]) -> Result<Cow<'b, [u8]>, ApiError> {
        match self.is_form && !self.signs_payload() {
            true => field(signed).ok_or_else(|| ApiError::Invalid(vec![Violation::missing("payload", "#/")])),
            // Node decoded a byte that is no UTF-8 as U+FFFD.
            false => Ok(match String::from_utf8_lossy(signed) {
                Cow::Borrowed(json) => json.as_bytes().into(),
                Cow::Owned(json) => json.into_bytes().into(),
            }),
        }
    }

    fn signs_payload(&self) -> bool {
        matches!(self.forge, Forge::Gitea | Forge::Forgejo | Forge::Gogs)
    }
}

/// Returns the field `payload` of a form.
fn field(form: &[u8]) -> Option<Cow<'_, [u8]>> {
    let (_, value) = form_urlencoded::parse(form).find(|(name, _)| name == "payload")?;
    Some(match value {
        Cow::Borrowed(json) => json.as_bytes().into(),
        Cow::Owned(json) => json.into_bytes().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    fn forge_of(names: &[&'static str]) -> Forge {
        let pair = |&name: &&'static str| (HeaderName::from_static(name), HeaderValue::from_static("push"));
        WebhookKind::read(&names.iter().map(pair).collect()).forge
    }

    #[test]
    fn the_most_special_header_tells_the_forge() {
        assert_eq!(forge_of(&["x-github-event"]), Forge::GitHub);
        assert_eq!(forge_of(&["x-github-event", "x-gogs-event"]), Forge::Gogs);
        assert_eq!(forge_of(&["x-github-event", "x-gogs-event", "x-gitea-event"]), Forge::Gitea);
        assert_eq!(forge_of(&["x-github-event", "x-gogs-event", "x-gitea-event", "x-forgejo-event"]), Forge::Forgejo);
        assert_eq!(forge_of(&["x-event-key"]), Forge::Bitbucket);
        assert_eq!(forge_of(&[]), Forge::GitHub);
    }

    #[test]
    fn a_form_is_signed_as_a_whole_by_github_and_by_its_payload_elsewhere() {
        let form = b"a=1&payload=%7B%22b%22%3A+1%7D";
        let webhook = |forge| WebhookKind { forge, event: "push", is_form: true };
        let (github, gitea) = (webhook(Forge::GitHub), webhook(Forge::Gitea));
        assert_eq!(&*github.signed_text(form), form);
        assert_eq!(&*github.json(form).unwrap(), br#"{"b": 1}"#);
        assert_eq!(&*github.json(b"payload={}").unwrap(), b"{}");
        assert!(github.json(b"a=1").is_err());
        assert_eq!(&*gitea.signed_text(form), br#"{"b": 1}"#);
        assert_eq!(&*gitea.json(br#"{"b": 1}"#).unwrap(), br#"{"b": 1}"#);
        assert_eq!(&*gitea.signed_text(b"a=1"), b"");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60), is_form: bool, forge in 0..7usize) {
            let webhook = WebhookKind { forge: Forge::ALL[forge], event: "push", is_form };
            let _ = webhook.json(&webhook.signed_text(&body));
        }
    }
}
