//! GitHub's push webhook, as totem accepts it.

use std::borrow::Cow;

use axum::http::{HeaderMap, header};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::signature;
use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::violation::{Violation, unstorable_text};
use crate::intake::ForgePush;
use crate::model::{CommitId, Dialect, is_no_commit};
use crate::store::NewDelivery;

const ROUTE: &str = "/hooks/github";

/// The fields of GitHub's push event that a job needs. The rest, mostly `commits`, is skipped unread.
#[derive(Deserialize)]
struct PushEvent {
    #[serde(rename = "ref")]
    reference: Option<String>,
    before: Option<String>,
    after: Option<String>,
    deleted: Option<bool>,
    /// Any JSON is accepted, because a push must not be refused for a field that only helps to order pushes.
    forced: Option<Value>,
    /// The user who pushed: `{"login": …}`. Any JSON is accepted, because no job depends on it.
    sender: Option<Value>,
    repository: Repository,
}

#[derive(Deserialize)]
struct Repository {
    name: String,
    owner: RepositoryOwner,
}

#[derive(Deserialize)]
struct RepositoryOwner {
    name: Option<String>,
    login: Option<String>,
}

/// True if whoever knows the secret sent the body.
pub fn verify(headers: &HeaderMap, body: &[u8], secret: &[u8]) -> bool {
    signature::is_valid(headers, body, secret)
}

/// Parses a verified webhook. Returns `None` for another event than a push, and for a push that deleted its branch or
/// tag.
pub fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Option<ForgePush>, ApiError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-github-event") != Some("push") {
        return Ok(None);
    }
    let is_form = header(header::CONTENT_TYPE.as_str())
        .is_some_and(|kind| kind.to_ascii_lowercase().starts_with("application/x-www-form-urlencoded"));
    let delivery = || NewDelivery {
        route: ROUTE,
        digest: hex::encode(Sha256::digest(body)),
        delivery_id: header("x-github-delivery").filter(|id| id.len() <= 128).map(str::to_owned),
        event: "push".into(),
    };
    read(&payload(body, is_form)?, delivery)
}

/// Returns the JSON in a body: the whole body, or the field `payload` of a form.
fn payload(body: &[u8], is_form: bool) -> Result<Cow<'_, [u8]>, ApiError> {
    if !is_form {
        return Ok(body.into());
    }
    match form_urlencoded::parse(body).find(|(name, _)| name == "payload") {
        Some((_, Cow::Borrowed(json))) => Ok(json.as_bytes().into()),
        Some((_, Cow::Owned(json))) => Ok(json.into_bytes().into()),
        None => Err(ApiError::Invalid(vec![Violation::missing("payload", "#/")])),
    }
}

/// Reads a push event. Returns `None` when it deleted its branch or tag, which some forges say by zeros alone.
fn read(json: &[u8], delivery: impl FnOnce() -> NewDelivery) -> Result<Option<ForgePush>, ApiError> {
    let push: PushEvent = serde_json::from_slice(json).map_err(|error| explain(json, &error))?;
    if push.deleted == Some(true) || push.after.as_deref().is_some_and(is_no_commit) {
        return Ok(None);
    }
    let Repository { name: repo, owner: RepositoryOwner { name, login } } = push.repository;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    let owner = filled(name)
        .or(login)
        .ok_or_else(|| ApiError::Invalid(vec![Violation::missing("name", "#/repository/owner")]))?;
    let before = filled(push.before).and_then(|before| CommitId::parse(&before).ok());
    let (git_ref, after) = (filled(push.reference), filled(push.after));
    let forced = push.forced == Some(Value::Bool(true));
    let sender = push.sender.as_ref().and_then(|sender| sender["login"].as_str()).and_then(shown_login);
    let dialect = Dialect::Totem;
    let push = ForgePush { owner, repo, git_ref, before, after, forced, sender, dialect, delivery: delivery() };
    let texts = [
        (Some(&*push.owner), "#/repository/owner/name"),
        (Some(&*push.repo), "#/repository/name"),
        (Some(push.branch()), "#/ref"),
        (push.after.as_deref(), "#/after"),
    ];
    let wrong: Vec<_> = texts.into_iter().filter_map(|(text, path)| unstorable_text(text?, path)).collect();
    if wrong.is_empty() { Ok(Some(push)) } else { Err(ApiError::Invalid(wrong)) }
}

/// Returns the login if it is one that a list can show. Forges have at most 255 characters.
fn shown_login(text: &str) -> Option<String> {
    let is_shown = (1..=255).contains(&text.len()) && !text.contains(char::is_control);
    is_shown.then(|| text.to_owned())
}

/// Says why a body is not a push, as totem's validator does. It parses the body a second time, but a valid body never
/// comes here.
fn explain(json: &[u8], error: &serde_json::Error) -> ApiError {
    let body: Value = match serde_json::from_slice(json) {
        Ok(body) => body,
        Err(error) => return ApiError::with(&messages::BAD_JSON, error.to_string()),
    };
    let mut wrong = Vec::new();
    let mut check = |value: &Value, expected: &str, path: &str| {
        let fits = match expected {
            "object" => value.is_object(),
            "boolean" => value.is_boolean(),
            _ => value.is_string(),
        };
        if !fits {
            wrong.push(Violation::wrong_type(value, expected, path));
        }
        fits
    };
    if check(&body, "object", "#/") {
        for (name, expected) in [("ref", "string"), ("before", "string"), ("after", "string"), ("deleted", "boolean")] {
            if let Some(value) = body.get(name).filter(|value| !value.is_null()) {
                check(value, expected, &format!("#/{name}"));
            }
        }
        match body.get("repository") {
            None => wrong.push(Violation::missing("repository", "#/")),
            Some(repository) => {
                if check(repository, "object", "#/repository") {
                    let owner = repository.get("owner");
                    if let Some(name) = repository.get("name") {
                        check(name, "string", "#/repository/name");
                    }
                    if let Some(owner) = owner
                        && check(owner, "object", "#/repository/owner")
                    {
                        for name in ["name", "login"] {
                            if let Some(value) = owner.get(name).filter(|value| !value.is_null()) {
                                check(value, "string", &format!("#/repository/owner/{name}"));
                            }
                        }
                    }
                    for name in ["name", "owner"] {
                        if repository.get(name).is_none() {
                            wrong.push(Violation::missing(name, "#/repository"));
                        }
                    }
                }
            }
        }
    }
    if wrong.is_empty() { ApiError::with(&messages::BAD_JSON, error.to_string()) } else { ApiError::Invalid(wrong) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::totem::violation;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(json: &[u8]) -> Result<Option<ForgePush>, ApiError> {
        let digest = String::new();
        super::read(json, || NewDelivery { route: ROUTE, digest, delivery_id: None, event: "push".into() })
    }

    fn read_json(body: &Value) -> ForgePush {
        read(&serde_json::to_vec(body).unwrap()).unwrap().unwrap()
    }

    fn push(reference: &str) -> Value {
        json!({"ref": reference, "after": "1234", "deleted": false, "commits": [{"id": "1"}],
            "repository": {"name": "hello", "owner": {"name": "acme", "login": "other"}}})
    }

    #[test]
    fn a_ref_is_stripped_of_its_kind_alone() {
        for (reference, branch) in [
            ("refs/heads/develop", "develop"),
            ("refs/heads/feature/x", "feature/x"),
            ("refs/tags/v1.2", "v1.2"),
            ("fake-owner/fake-branch", "fake-owner/fake-branch"),
            ("", "develop"),
        ] {
            assert_eq!(read_json(&push(reference)).branch(), branch);
        }
    }

    #[test]
    fn a_push_names_its_repository_and_its_commit() {
        let made = read_json(&push("refs/heads/develop"));
        assert_eq!((made.owner.as_str(), made.repo.as_str(), made.after.as_deref()), ("acme", "hello", Some("1234")));
        let made = read_json(&json!({"repository": {"name": "hello", "owner": {"login": "acme"}}}));
        assert_eq!((made.owner.as_str(), made.branch(), made.after.as_deref()), ("acme", "develop", None));
    }

    #[test]
    fn zeros_are_a_deletion_whatever_else_is_said() {
        for zeros in ["0".repeat(40), "0".repeat(64)] {
            let body = json!({"ref": "refs/tags/v1", "after": zeros, "deleted": false,
                "repository": {"name": "hello", "owner": {"login": "acme"}}});
            assert!(read(&serde_json::to_vec(&body).unwrap()).unwrap().is_none());
        }
    }

    #[test]
    fn a_refusal_names_the_fault_of_a_payload() {
        let wrong = |body: &str| match read(body.as_bytes()) {
            Err(ApiError::Invalid(violations)) => {
                let violation = violation(&violations[0]);
                format!("{} {}", violation["message"].as_str().unwrap(), violation["path"].as_str().unwrap())
            }
            Err(error @ ApiError::Message(..)) => error.text("").strip_prefix("Invalid JSON: ").unwrap().to_owned(),
            other => panic!("{other:?}"),
        };
        assert_eq!(wrong(r#"{"repository":{"name":"x"}}"#), "Missing required property: owner #/repository");
        assert_eq!(wrong(r#"{}"#), "Missing required property: repository #/");
        assert_eq!(wrong("[]"), "invalid type: array (expected object) #/");
        assert_eq!(wrong("{b"), "key must be a string at line 1 column 2");
        assert_eq!(
            wrong(r#"{"repository":{"name":"x","owner":{}}}"#),
            "Missing required property: name #/repository/owner"
        );
        assert_eq!(
            wrong(r#"{"after":5,"repository":{"name":"x","owner":{"name":"y"}}}"#),
            "invalid type: integer (expected string) #/after"
        );
        let long = push(&"x".repeat(5000)).to_string();
        assert_eq!(wrong(&long), "String is too long (5000 chars), maximum 4096 #/ref");
    }

    /// GitHub sends a boolean; any other value must not lose the push.
    #[test]
    fn a_push_is_forced_if_its_sender_says_true() {
        for (forced, is_forced) in
            [(json!(true), true), (json!(false), false), (Value::Null, false), (json!("yes"), false)]
        {
            let mut body = push("refs/heads/develop");
            body["forced"] = forced;
            let wanted = read(&serde_json::to_vec(&body).unwrap()).unwrap().unwrap();
            assert_eq!(wanted.forced, is_forced, "{body}");
        }
        assert!(!read(&serde_json::to_vec(&push("refs/heads/x")).unwrap()).unwrap().unwrap().forced);
    }

    #[test]
    fn a_form_carries_its_payload() {
        assert_eq!(&*payload(b"a=1&payload=%7B%22b%22%3A+1%7D", true).unwrap(), br#"{"b": 1}"#);
        assert_eq!(&*payload(b"payload={}", true).unwrap(), b"{}");
        assert!(payload(b"a=1", true).is_err());
    }

    /// Makes JSON that sometimes has the right names in the wrong places.
    fn jsons() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,8}".prop_map(Value::from)
        ];
        let name = prop_oneof!["ref", "after", "deleted", "repository", "owner", "name", "login", "x"];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_json_makes_a_job_or_says_what_is_wrong(body in jsons()) {
            match read(&serde_json::to_vec(&body).unwrap()) {
                Err(ApiError::Invalid(wrong)) => prop_assert!(!wrong.is_empty()),
                Err(ApiError::Message(message, _)) if *message == messages::BAD_JSON => {}
                Ok(_) => {}
                Err(other) => prop_assert!(false, "{:?}", other),
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..60), is_form: bool) {
            let _ = payload(&body, is_form).and_then(|json| read(&json));
        }
    }
}
