//! The push event of GitHub, as totem accepts it.

use serde::Deserialize;
use serde_json::Value;

use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::violation::{Violation, unstorable_text};
use crate::intake::ForgePush;
use crate::model::{CommitId, Dialect, GitRef, is_no_commit};
use crate::store::NewDelivery;

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
    /// Any JSON, because a push must not be refused for a field that only BUILD_FORKS looks at.
    fork: Option<Value>,
    /// Any JSON, because a push must not be refused for a field that only decides about tags.
    default_branch: Option<Value>,
}

#[derive(Deserialize)]
struct RepositoryOwner {
    name: Option<String>,
    login: Option<String>,
}

/// Event by which Gogs reports a new tag, because it sends no push for one. Older versions leave `sha` out.
#[derive(Deserialize)]
struct CreateEvent {
    #[serde(rename = "ref")]
    name: String,
    ref_type: String,
    sha: Option<String>,
    sender: Option<Value>,
    repository: Repository,
}

/// Reads a push event, in the form that GitHub gave it and that Gitea, Forgejo and Gogs took over. Returns `None` when it
/// deleted its branch or tag, which some forges say by zeros alone.
pub fn push(json: &[u8], delivery: impl FnOnce() -> NewDelivery) -> Result<Option<ForgePush>, ApiError> {
    let push: PushEvent = serde_json::from_slice(json).map_err(|error| explain(json, &error))?;
    match push.deleted == Some(true) || push.after.as_deref().is_some_and(is_no_commit) {
        true => Ok(None),
        false => read(push, delivery).map(Some),
    }
}

/// Returns the message of a push's commit. Gitea before 1.16 and Gogs have no `head_commit`, so the commit is looked for
/// in the list.
pub fn message(json: &[u8]) -> Option<String> {
    let push: Value = serde_json::from_slice(json).ok()?;
    let listed = || push["commits"].as_array()?.iter().find(|commit| commit["id"] == push["after"]);
    let head = Some(&push["head_commit"]).filter(|head| head.is_object()).or_else(listed)?;
    head["message"].as_str().map(str::to_owned)
}

/// Reads the event `create` of Gogs. Returns `None` for a new branch, which has a push event, too.
pub fn created_tag(json: &[u8], delivery: impl FnOnce() -> NewDelivery) -> Result<Option<ForgePush>, ApiError> {
    let created: CreateEvent =
        serde_json::from_slice(json).map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    if created.ref_type != "tag" {
        return Ok(None);
    }
    let (reference, after) = (Some(format!("refs/tags/{}", created.name)), created.sha.clone());
    let CreateEvent { sender, repository, .. } = created;
    let push = PushEvent { reference, before: None, after, deleted: None, forced: None, sender, repository };
    read(push, delivery).map(Some)
}

fn read(push: PushEvent, delivery: impl FnOnce() -> NewDelivery) -> Result<ForgePush, ApiError> {
    let Repository { name: repo, owner: RepositoryOwner { name, login }, fork, default_branch } = push.repository;
    let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
    // totem built its default branch for an empty ref, and no forge sends one.
    let Some(git_ref) = filled(push.reference) else {
        return Err(ApiError::Invalid(vec![Violation::missing("ref", "#/")]));
    };
    let owner = filled(name)
        .or(login)
        .ok_or_else(|| ApiError::Invalid(vec![Violation::missing("name", "#/repository/owner")]))?;
    let before = filled(push.before).and_then(|before| CommitId::parse(&before).ok());
    let after = filled(push.after);
    let forced = push.forced == Some(Value::Bool(true));
    let sender = push.sender.as_ref().and_then(|sender| sender["login"].as_str()).and_then(shown_login);
    let default_branch = default_branch.as_ref().and_then(Value::as_str);
    let default_branch = default_branch.filter(|name| GitRef::new(name).is_ok()).map(str::to_owned);
    let push = ForgePush {
        owner,
        repo,
        git_ref: Some(git_ref),
        before,
        after,
        forced,
        sender,
        default_branch,
        message: None,
        is_fork: fork == Some(Value::Bool(true)),
        dialect: Dialect::Totem,
        delivery: delivery(),
    };
    let texts = [
        (Some(&*push.owner), "#/repository/owner/name"),
        (Some(&*push.repo), "#/repository/name"),
        (Some(push.branch()), "#/ref"),
        (push.after.as_deref(), "#/after"),
    ];
    let wrong: Vec<_> = texts.into_iter().filter_map(|(text, path)| unstorable_text(text?, path)).collect();
    if wrong.is_empty() { Ok(push) } else { Err(ApiError::Invalid(wrong)) }
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

    fn delivery(event: &str, digest: String) -> NewDelivery {
        let forge = crate::model::Forge::GitHub;
        NewDelivery { route: "/", digest, delivery_id: None, forge, event: event.into() }
    }

    fn read(json: &[u8]) -> Result<Option<ForgePush>, ApiError> {
        let digest = String::new();
        push(json, || delivery("push", digest))
    }

    fn read_json(body: &Value) -> ForgePush {
        read(&serde_json::to_vec(body).unwrap()).unwrap().unwrap()
    }

    fn payload(reference: &str) -> Value {
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
        ] {
            assert_eq!(read_json(&payload(reference)).branch(), branch);
        }
    }

    #[test]
    fn a_push_names_its_repository_and_its_commit() {
        let made = read_json(&payload("refs/heads/develop"));
        assert_eq!((made.owner.as_str(), made.repo.as_str(), made.after.as_deref()), ("acme", "hello", Some("1234")));
        let made = read_json(&json!({"ref": "refs/heads/x", "after": "",
            "repository": {"name": "hello", "owner": {"login": "acme"}}}));
        assert_eq!((made.owner.as_str(), made.branch(), made.after.as_deref()), ("acme", "x", None));
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
            wrong(r#"{"ref":"x","repository":{"name":"x","owner":{}}}"#),
            "Missing required property: name #/repository/owner"
        );
        for reference in ["", r#""ref":null,"#, r#""ref":"","#] {
            let body = format!(r#"{{{reference}"repository":{{"name":"x","owner":{{"name":"y"}}}}}}"#);
            assert_eq!(wrong(&body), "Missing required property: ref #/");
        }
        assert_eq!(
            wrong(r#"{"after":5,"repository":{"name":"x","owner":{"name":"y"}}}"#),
            "invalid type: integer (expected string) #/after"
        );
        let long = payload(&"x".repeat(5000)).to_string();
        assert_eq!(wrong(&long), "String is too long (5000 chars), maximum 4096 #/ref");
    }

    /// GitHub sends a boolean; any other value must not lose the push.
    #[test]
    fn a_push_is_forced_if_its_sender_says_true() {
        for (forced, is_forced) in
            [(json!(true), true), (json!(false), false), (Value::Null, false), (json!("yes"), false)]
        {
            let mut body = payload("refs/heads/develop");
            body["forced"] = forced;
            let wanted = read(&serde_json::to_vec(&body).unwrap()).unwrap().unwrap();
            assert_eq!(wanted.forced, is_forced, "{body}");
        }
        assert!(!read(&serde_json::to_vec(&payload("refs/heads/x")).unwrap()).unwrap().unwrap().forced);
    }

    #[test]
    fn the_default_branch_is_taken_if_it_is_a_name() {
        for (sent, expected) in
            [(json!("main"), Some("main")), (json!("a..b"), None), (json!(5), None), (Value::Null, None)]
        {
            let mut body = payload("refs/heads/develop");
            body["repository"]["default_branch"] = sent;
            assert_eq!(read_json(&body).default_branch.as_deref(), expected);
        }
    }

    #[test]
    fn a_fork_is_one_if_its_sender_says_true() {
        for (fork, is_fork) in [(json!(true), true), (json!(false), false), (json!("yes"), false), (Value::Null, false)]
        {
            let mut body = payload("refs/heads/develop");
            body["repository"]["fork"] = fork;
            assert_eq!(read_json(&body).is_fork, is_fork, "{body}");
        }
    }

    #[test]
    fn the_message_is_that_of_the_commit_after_the_push() {
        let message = |body: Value| message(&serde_json::to_vec(&body).unwrap());
        let commits = json!([{"id": "1", "message": "one"}, {"id": "2", "message": "two"}]);
        assert_eq!(
            message(json!({"after": "2", "head_commit": {"id": "2", "message": "head"}})).as_deref(),
            Some("head")
        );
        assert_eq!(message(json!({"after": "2", "head_commit": null, "commits": commits})).as_deref(), Some("two"));
        assert_eq!(message(json!({"after": "3", "commits": commits})), None);
        assert_eq!(message(json!({"after": "3", "commits": null})), None);
    }

    #[test]
    fn gogs_reports_a_tag_as_created() {
        let created = |kind: &str, sha: Value| {
            let body = json!({"ref": "v1.2", "ref_type": kind, "sha": sha, "default_branch": "master",
                "repository": {"name": "hello", "owner": {"login": "acme", "username": "acme"}}});
            let digest = String::new();
            created_tag(&serde_json::to_vec(&body).unwrap(), || delivery("create", digest)).unwrap()
        };
        let made = created("tag", "1".repeat(40).into()).unwrap();
        assert_eq!((made.git_ref.as_deref(), made.branch()), (Some("refs/tags/v1.2"), "v1.2"));
        assert_eq!(made.after, Some("1".repeat(40)));
        assert_eq!(created("tag", Value::Null).unwrap().after, None);
        assert!(created("branch", "1".repeat(40).into()).is_none());
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
    }
}
