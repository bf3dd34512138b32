use serde_json::{Map, Value};

use crate::http::error::ApiError;
use crate::http::messages;
use crate::http::violation::{Violation, unstorable_text};
use crate::intake::{DEFAULT_COMMIT, JobRequest};
use crate::model::{BadOption, BuildOptions, Destinations, Dialect, JobContext, JobSource, Problem, is_tag};

/// Pattern of an image's tag.
const TAG_PATTERN: &str = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$";
/// Largest size of the sender's own names together, in bytes. It is bounded because they come back in every list.
const MAX_EXTRA: usize = 16 << 10;

/// Reads the body of `POST /job`. Git's names are validated for type and length alone, because totem accepted any; the
/// job then says what is wrong with them. The destination of the image is validated, because it is used as the request has
/// it or refused. Unknown names are kept.
pub fn read(body: &[u8], destinations: &Destinations) -> Result<JobRequest, ApiError> {
    // Node decoded a byte that is no UTF-8 as U+FFFD, and so bodies in Latin-1.
    let value = serde_json::from_str(&String::from_utf8_lossy(body))
        .map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    let Value::Object(mut body) = value else {
        return Err(ApiError::Invalid(vec![Violation::wrong_type(&value, "object", "#/")]));
    };
    let mut wrong = Vec::new();
    for name in ["owner", "repo"] {
        if !body.contains_key(name) {
            wrong.push(Violation::missing(name, "#/"));
        }
    }
    let branch_left_out = !body.contains_key("branch");
    let mut text = |name: &str, default: &str| take_text(&mut body, name, &mut wrong).unwrap_or_else(|| default.into());
    let (owner, repo) = (text("owner", ""), text("repo", ""));
    let (branch, commit) = (text("branch", JobContext::BRANCH), text("commit", DEFAULT_COMMIT));
    let docker_repo_base = text("dockerRepoBase", &destinations.base);
    if let Err(why) = destinations.name.check_base(&docker_repo_base) {
        wrong.push(Violation::wrong_format(&docker_repo_base, "docker-repo-base", why, "#/dockerRepoBase"));
    }
    let github = body.remove("github").is_none_or(|github| is_truthy(&github));
    // totem accepted any tag, a number too because a build's number is a tag, and took the commit in place of an empty one.
    let tag = match body.get("tag") {
        Some(Value::Null) => None,
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => take_text(&mut body, "tag", &mut wrong),
    };
    body.remove("tag");
    let tag = tag.filter(|tag| !tag.is_empty());
    if let Some(tag) = tag.as_ref().filter(|tag| !is_tag(tag)) {
        wrong.push(Violation::wrong_pattern(tag, TAG_PATTERN, "#/tag"));
    }
    let tag_named = tag.is_some();
    let tag = tag.unwrap_or_else(|| if commit.is_empty() { DEFAULT_COMMIT.into() } else { commit.clone() });
    let size = serde_json::to_string(&body).map_or(0, |extra| extra.len());
    if size > MAX_EXTRA {
        wrong.push(Violation::too_long(size, MAX_EXTRA, "#/"));
    }
    let context =
        JobContext { owner, repo, branch, commit, github, docker_repo_base, tag, branch_left_out, extra: body };
    // The build options are new, so checking them refuses nothing that totem accepted.
    wrong.extend(context.build_options().err().into_iter().flatten().map(bad_option));
    if wrong.is_empty() {
        let (source, dialect) = (JobSource::Git, Dialect::Totem);
        Ok(JobRequest { context, source, tag_named, is_head: false, dialect })
    } else {
        Err(ApiError::Invalid(wrong))
    }
}

/// Returns the truth of a value in JavaScript.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(_) | Value::Object(_) => true,
    }
}

/// Options that a rebuild may set. Any other one would make another image of the commit, which is a job of its own.
const OF_REBUILD: [&str; 2] = ["pull", "noCache"];

/// Reads the body of `POST /job/{id}/rebuild`, `{"build": {…}}`, and returns the options in it.
pub fn read_rebuild(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let value = serde_json::from_slice(body).map_err(|error| ApiError::with(&messages::BAD_JSON, error.to_string()))?;
    let Value::Object(mut body) = value else {
        return Err(ApiError::Invalid(vec![Violation::wrong_type(&value, "object", "#/")]));
    };
    let options = match body.remove(JobContext::BUILD) {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(options)) => options,
        Some(other) => return Err(ApiError::Invalid(vec![Violation::wrong_type(&other, "object", "#/build")])),
    };
    let mut wrong = Vec::new();
    for name in options.keys().filter(|name| !OF_REBUILD.contains(&name.as_str())) {
        let why = "a rebuild takes pull and noCache alone: make a job for any other option";
        wrong.push(Violation::unusable(why.into(), format!("#/build/{}", pointer(name))));
    }
    wrong.extend(BuildOptions::read(&options).err().into_iter().flatten().map(bad_option));
    if wrong.is_empty() { Ok(options) } else { Err(ApiError::Invalid(wrong)) }
}

/// Escapes a key of an object for a JSON pointer.
fn pointer(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

fn bad_option(option: BadOption) -> Violation {
    // A JSON pointer escapes `~` and `/` in a key; the slash behind `buildArgs` separates two keys.
    let path = match option.name.split_once('/') {
        Some((object, key)) => format!("#/build/{object}/{}", pointer(key)),
        None => format!("#/build/{}", option.name),
    };
    match &option.problem {
        Problem::Type { expected, found } => Violation::wrong_type(found, expected, &path),
        Problem::Value(_) => Violation::unusable(option.to_string(), path),
    }
}

fn take_text(body: &mut Map<String, Value>, name: &str, wrong: &mut Vec<Violation>) -> Option<String> {
    let path = format!("#/{name}");
    match body.remove(name)? {
        Value::String(text) => {
            wrong.extend(unstorable_text(&text, &path));
            Some(text)
        }
        other => {
            wrong.push(Violation::wrong_type(&other, "string", &path));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::totem::render::violation;
    use crate::model::NewJob;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(body: &[u8]) -> Result<JobContext, ApiError> {
        asked(body).map(|asked| asked.context)
    }

    fn asked(body: &[u8]) -> Result<JobRequest, ApiError> {
        super::read(body, &crate::http::testing::destinations("quay.io/totem"))
    }

    fn wrong(body: &str) -> Value {
        match read(body.as_bytes()) {
            Err(ApiError::Invalid(violations)) => violations.iter().map(violation).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn defaults_are_the_originals() {
        let context = read(br#"{"owner":"acme","repo":"hello","realm":{"a":[1]}}"#).unwrap();
        let text = serde_json::to_string(&context).unwrap();
        assert_eq!(
            text,
            r#"{"owner":"acme","repo":"hello","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"quay.io/totem","tag":"HEAD","realm":{"a":[1]}}"#
        );
    }

    #[test]
    fn bodies_are_read_as_leniently_as_by_node() {
        let context = read(b"{\"owner\":\"acme\",\"repo\":\"hello\",\"who\":\"J\xf6rg\"}").unwrap();
        assert_eq!(context.extra["who"], "J\u{fffd}rg");
        for (github, expected) in [
            ("true", true),
            ("\"false\"", true),
            ("1", true),
            ("[]", true),
            ("{}", true),
            ("false", false),
            ("0", false),
            ("-0.0", false),
            ("\"\"", false),
            ("null", false),
        ] {
            let body = format!(r#"{{"owner":"a","repo":"b","github":{github}}}"#);
            assert_eq!(read(body.as_bytes()).unwrap().github, expected, "{github}");
        }
    }

    #[test]
    fn a_tag_is_the_commit_unless_there_is_one() {
        let tag = |tag: &str| {
            let body = format!(r#"{{"owner":"a","repo":"b","commit":"1234","tag":{tag}}}"#);
            read(body.as_bytes()).map(|context| context.tag)
        };
        assert_eq!(tag(r#""v1""#).unwrap(), "v1");
        assert_eq!(tag("17").unwrap(), "17");
        assert_eq!(tag(r#""""#).unwrap(), "1234");
        assert_eq!(tag("null").unwrap(), "1234");
        assert!(tag("[]").is_err());
        let body = br#"{"owner":"a","repo":"b","commit":""}"#;
        assert_eq!(read(body).unwrap().tag, "HEAD");
    }

    #[test]
    fn a_tag_is_named_if_the_request_has_it() {
        for (tag, is_named) in
            [(json!("v1"), true), (json!(17), true), (json!("HEAD"), true), (json!(""), false), (Value::Null, false)]
        {
            let body = json!({ "owner": "a", "repo": "b", "tag": tag }).to_string();
            assert_eq!(asked(body.as_bytes()).unwrap().tag_named, is_named, "{tag}");
        }
        assert!(!asked(br#"{"owner":"a","repo":"b","commit":"1234"}"#).unwrap().tag_named);
    }

    /// Neither is changed silently, because an image must be where the request asked for it.
    #[test]
    fn a_tag_or_a_base_that_is_not_valid_is_refused() {
        for tag in ["feature/x", "-x", ".", "a b", "é", &"x".repeat(129)] {
            let wrong = wrong(&json!({"owner": "a", "repo": "b", "tag": tag}).to_string());
            let pattern = "^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$";
            let message = format!("String does not match pattern {pattern}: {tag}");
            let expected = json!([{"code": "PATTERN", "message": message, "path": "#/tag",
                "params": {"pattern": pattern}}]);
            assert_eq!(wrong, expected);
        }
        for (base, why) in [
            ("quay.io/Totem", "each part of the name has lower-case letters"),
            ("https://quay.io/totem", "without a scheme"),
            ("docker.io", "docker.io/ACCOUNT"),
            ("", "each part"),
        ] {
            let wrong = wrong(&json!({"owner": "a", "repo": "b", "dockerRepoBase": base}).to_string());
            assert_eq!((&wrong[0]["code"], &wrong[0]["path"]), (&json!("INVALID_FORMAT"), &json!("#/dockerRepoBase")));
            let message = wrong[0]["message"].as_str().unwrap();
            let begin = format!("Object didn't pass validation for format docker-repo-base: {base} (");
            assert!(message.starts_with(&begin) && message.contains(why), "{message}");
        }
    }

    #[test]
    fn violations_have_the_recorded_form() {
        assert_eq!(
            wrong(r#"{"owner":"acme"}"#),
            json!([{"code": "OBJECT_REQUIRED", "message": "Missing required property: repo", "path": "#/",
                "params": {"property": "repo"}}])
        );
        assert_eq!(
            wrong(r#"{"owner":1,"repo":"b"}"#),
            json!([{"code": "INVALID_TYPE", "message": "invalid type: integer (expected string)", "path": "#/owner",
                "params": {"type": "integer", "expected": "string"}}])
        );
        assert_eq!(wrong("[]")[0]["message"], "invalid type: array (expected object)");
        assert_eq!(wrong(r#"{"owner":1,"branch":null}"#).as_array().unwrap().len(), 3);
        assert_eq!(wrong(r#"{"owner":"a\u0000","repo":"b"}"#)[0]["code"], "PATTERN");
        assert_eq!(wrong(&format!(r#"{{"owner":"a","repo":"{}"}}"#, "b".repeat(5000)))[0]["code"], "MAX_LENGTH");
        assert_eq!(wrong(&format!(r#"{{"owner":"a","repo":"b","x":"{}"}}"#, "b".repeat(20000)))[0]["path"], "#/");
    }

    #[test]
    fn options_of_the_build_are_checked_and_kept() {
        let body = |options: Value| json!({ "owner": "a", "repo": "b", "build": options }).to_string();
        let options = json!({ "dockerfile": "./docker/web", "context": "services/api", "keepGitDir": true, "target": "prod",
            "buildArgs": { "A": "1" }, "platform": "linux/arm64", "image": "web" });
        let context = read(body(options.clone()).as_bytes()).unwrap();
        assert_eq!(context.extra["build"], options);
        for (options, code, path) in [
            (json!({ "dockerfile": 5 }), "INVALID_TYPE", "#/build/dockerfile"),
            (json!({ "dockerfile": "../x" }), "INVALID_FORMAT", "#/build/dockerfile"),
            (json!({ "context": "../x" }), "INVALID_FORMAT", "#/build/context"),
            (json!({ "context": [] }), "INVALID_TYPE", "#/build/context"),
            (json!({ "keepGitDir": "true" }), "INVALID_TYPE", "#/build/keepGitDir"),
            (json!({ "target": "a b" }), "INVALID_FORMAT", "#/build/target"),
            (json!({ "platform": "windows/amd64" }), "INVALID_FORMAT", "#/build/platform"),
            (json!({ "image": "Web" }), "INVALID_FORMAT", "#/build/image"),
            (json!({ "pull": "never" }), "INVALID_FORMAT", "#/build/pull"),
            (json!({ "noCache": 1 }), "INVALID_TYPE", "#/build/noCache"),
            (json!({ "buildArgs": "A=1" }), "INVALID_TYPE", "#/build/buildArgs"),
            (json!({ "buildArgs": { "A": 1 } }), "INVALID_TYPE", "#/build/buildArgs/A"),
            (json!({ "buildArgs": { "a/~": "" } }), "INVALID_FORMAT", "#/build/buildArgs/a~1~0"),
        ] {
            let violations = wrong(&body(options.clone()));
            assert_eq!((&violations[0]["code"], &violations[0]["path"]), (&json!(code), &json!(path)), "{options}");
        }
        // The names are the caller's own outside of `build`, and so is a `build` that is no object.
        for own in [json!({ "target": 5, "dockerfile": ["x"], "build": 17 }), json!({ "build": "nightly" })] {
            let mut body = json!({ "owner": "a", "repo": "b" });
            body.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            let context = read(body.to_string().as_bytes()).unwrap();
            assert_eq!((context.build_options(), Value::Object(context.extra)), (Ok(Default::default()), own));
        }
        assert!(wrong(&body(json!({ "dockerfile": "../x" })))[0]["message"].as_str().unwrap().contains("without .."));
    }

    proptest! {
        #[test]
        fn any_body_is_a_context_or_a_refusal(body in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = read(&body);
        }

        #[test]
        fn any_names_are_kept(owner in "[^\0]{0,40}", repo in "[^\0]{0,40}", branch in "[^\0]{0,40}", own in "[^\0]{0,40}") {
            let body = json!({ "owner": owner, "repo": repo, "branch": branch, "zz": own, "pushed": true });
            let context = read(&serde_json::to_vec(&body).unwrap()).unwrap();
            prop_assert!(!NewJob::new(context.clone(), String::new()).pushed);
            prop_assert_eq!((context.owner, context.repo, context.branch), (owner, repo, branch));
            prop_assert_eq!(context.extra, json!({ "zz": own, "pushed": true }).as_object().unwrap().clone());
        }
    }
}
