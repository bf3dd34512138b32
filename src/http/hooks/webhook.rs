//! The forge and the event of a webhook, by its headers, and the text that its signature covers. Gitea's headers are
//! those of `services/webhook/deliver.go` of go-gitea/gitea, those of Gogs are in `internal/database/webhook.go`. The body
//! alone tells whether it is JSON or a form, because no signature covers `Content-Type`.

use std::borrow::Cow;

use axum::http::HeaderMap;

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
}

impl<'a> WebhookKind<'a> {
    /// Reads the headers. A webhook with no forge's header counts as GitHub's.
    pub fn read(headers: &'a HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let found = EVENTS.iter().find_map(|&(name, forge)| Some((forge, text(name)?)));
        let (forge, event) = found.unwrap_or((Forge::GitHub, ""));
        Self { forge, event }
    }

    /// Returns the text that the signature covers: the body, or the field `payload` of a form of Gitea, Forgejo or Gogs.
    pub fn signed_text<'b>(&self, body: &'b [u8]) -> Cow<'b, [u8]> {
        field(body).filter(|_| self.signs_payload()).unwrap_or_else(|| body.into())
    }

    /// Returns the JSON in a signed text. It may be none, because a text that is no form is returned as it is.
    pub fn json<'b>(&self, signed: &'b [u8]) -> Cow<'b, [u8]> {
        let form = if self.signs_payload() { None } else { field(signed) };
        // Node decoded a byte that is no UTF-8 as U+FFFD.
        form.unwrap_or_else(|| into_bytes(String::from_utf8_lossy(signed)))
    }

    fn signs_payload(&self) -> bool {
        matches!(self.forge, Forge::Gitea | Forge::Forgejo | Forge::Gogs)
    }
}

/// Returns the field `payload` of a form that has it alone. A body with other fields is no form, because a text inside of
/// signed JSON may look like a field.
fn field(body: &[u8]) -> Option<Cow<'_, [u8]>> {
    body.strip_prefix(b"payload=").filter(|value| !value.contains(&b'&'))?;
    form_urlencoded::parse(body).next().map(|(_, value)| into_bytes(value))
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
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
        let form = b"payload=%7B%22b%22%3A+1%7D";
        let webhook = |forge| WebhookKind { forge, event: "push" };
        let (github, gitea) = (webhook(Forge::GitHub), webhook(Forge::Gitea));
        assert_eq!(&*github.signed_text(form), form);
        assert_eq!(&*github.json(form), br#"{"b": 1}"#);
        assert_eq!(&*gitea.signed_text(form), br#"{"b": 1}"#);
        assert_eq!(&*gitea.json(br#"{"b": 1}"#), br#"{"b": 1}"#);
        // Signed JSON in which somebody wrote a form is JSON.
        for body in [&br#"{"comment":"&payload={}&"}"#[..], b"a=1&payload={}", b"payload={}&a=1", b" payload={}"] {
            for webhook in [github, gitea] {
                assert_eq!((&*webhook.signed_text(body), &*webhook.json(body)), (body, body));
            }
        }
        // A payload that looks like a form again is none.
        assert_eq!(&*gitea.json(&gitea.signed_text(b"payload=payload%3D%7B%7D")), b"payload={}");
    }

    proptest! {
        /// Whoever signs JSON has signed this JSON and nothing else, whatever headers a replay has.
        #[test]
        fn signed_json_is_read_as_itself(
            text in "[&=%{}\"a-z]{0,20}(&payload=[{}%a-z]{0,9}&?)?", forge in 0..Forge::ALL.len(),
        ) {
            let json = serde_json::json!({ "comment": text }).to_string();
            let webhook = WebhookKind { forge: Forge::ALL[forge], event: "push" };
            prop_assert_eq!(&*webhook.signed_text(json.as_bytes()), json.as_bytes());
            prop_assert_eq!(&*webhook.json(json.as_bytes()), json.as_bytes());
        }

        #[test]
        fn any_bytes_are_read(body in prop::collection::vec(any::<u8>(), 0..60), forge in 0..Forge::ALL.len()) {
            let webhook = WebhookKind { forge: Forge::ALL[forge], event: "push" };
            let _ = webhook.json(&webhook.signed_text(&body));
        }
    }
}
