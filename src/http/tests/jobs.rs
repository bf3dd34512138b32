//! Tests of filtered lists and of rebuilds.

use serde_json::{Value, json};

use super::*;
use crate::model::StageStatus;

async fn make(server: &Server, role: &str, body: &str) -> Answer {
    send(server.as_role(role, "POST", "/job").header("content-type", "application/json").body(body.to_owned())).await
}

async fn rebuild(server: &Server, role: &str, id: &str) -> Answer {
    send(server.as_role(role, "POST", &format!("/job/{id}/rebuild"))).await
}

/// Ends the only pending job.
async fn end(server: &Server, stages: Stages) {
    let job = server.claim().await;
    server.finish(&job, Status::Success, stages).await;
}

#[tokio::test]
async fn a_list_is_filtered_by_repository_branch_and_status() {
    let server = server(|_| {}).await;
    for (repo, branch) in [("a", "x/1"), ("a", "x/1"), ("b", "x/1"), ("a", "y")] {
        let body = json!({"owner": "Acme", "repo": repo, "branch": branch}).to_string();
        assert_eq!(make(&server, "build", &body).await.status, 201);
    }
    let answer = server.get("/job?repository=acme/A&branch=x%2F1&status=pending&limit=1").await;
    assert_eq!(answer.json().as_array().unwrap().len(), 1);
    let id = answer.json()[0]["id"].as_str().unwrap().to_owned();
    let next = format!("/job?limit=1&cursor={id}&repository=acme%2FA&branch=x%2F1&status=pending");
    assert_eq!(answer.header("link"), format!(r#"</_schema/job-list>; rel="describedBy", <{next}>; rel="next""#));
    let answer = server.get(&next).await;
    assert_eq!((answer.json().as_array().unwrap().len(), answer.header("link").contains("next")), (1, false));
    for (query, count) in
        [("repository=acme/a", 3), ("status=pending", 4), ("status=cancelled", 0), ("repository=x", 0)]
    {
        assert_eq!(server.get(&format!("/job?{query}")).await.json().as_array().unwrap().len(), count, "{query}");
    }
    for (query, message) in [
        ("branch=x", "branch needs repository=OWNER/REPO beside it"),
        ("status=done", "status is pending, running, success, failure or cancelled"),
    ] {
        let answer = server.get(&format!("/job?{query}")).await;
        assert_eq!(answer.error(), (400, "InvalidArgument".into(), message.into()));
    }
}

#[tokio::test]
async fn a_rebuild_is_a_new_job_for_the_commit_that_was_built() {
    let server = server(|_| {}).await;
    let body = r#"{"owner":"acme","repo":"hello","commit":"HEAD","tag":"v1","mine":{"a":1},"priority":7}"#;
    let made = make(&server, "build", body).await.json();
    let id = made["id"].as_str().unwrap();
    assert_eq!((&made["priority"], &made["origin"], &made["rebuildOf"]), (&json!(0), &json!("api"), &json!(null)));
    let conflict = |status: &str| (409, "ConflictError".into(), format!("The job has not ended yet: {status}"));
    assert_eq!(rebuild(&server, "build", id).await.error(), conflict("pending"));
    let job = server.claim().await;
    assert_eq!(rebuild(&server, "build", id).await.error(), conflict("running"));
    let mut stages = Stages::pending();
    stages.0[0].status = StageStatus::Success;
    server.finish(&job, Status::Success, stages).await;

    assert_eq!(rebuild(&server, "read", id).await.status, 403);
    let answer = rebuild(&server, "build", id).await;
    assert_eq!(answer.status, 201);
    let new = answer.json();
    assert_eq!((&new["rebuildOf"], &new["origin"], &new["status"]), (&json!(id), &json!("rebuild"), &json!("pending")));
    let mut context = made["context"].clone();
    context["commit"] = json!("a".repeat(40));
    assert_eq!((&new["context"], &new["image"]), (&context, &made["image"]));
    let unknown = JobId::new().to_string();
    assert_eq!(rebuild(&server, "build", &unknown).await.status, 404);
}

#[tokio::test]
async fn a_rebuild_may_take_less_from_the_engine_and_builds_the_same() {
    let server = server(|_| {}).await;
    let body = r#"{"owner":"acme","repo":"hello","build":{"target":"x","pull":"missing"}}"#;
    let id = make(&server, "build", body).await.json()["id"].as_str().unwrap().to_owned();
    end(&server, Stages::pending()).await;
    let rebuild = async |body: &str, media_type: &'static str| {
        let request = server.as_role("build", "POST", &format!("/job/{id}/rebuild")).header("content-type", media_type);
        send(request.body(body.to_owned())).await
    };
    let made = rebuild(r#"{"build":{"pull":"always","noCache":true}}"#, "application/json").await;
    assert_eq!(made.json()["context"]["build"], json!({"target": "x", "pull": "always", "noCache": true}));
    for body in ["{}", r#"{"build":null}"#, r#"{"build":{}}"#] {
        let made = rebuild(body, "application/json").await;
        assert_eq!(made.json()["context"]["build"], json!({"target": "x", "pull": "missing"}), "{body}");
    }
    assert_eq!(rebuild("{}", "text/plain").await.status, 415);
    let wrong = r#"{"build":{"target":"y","pull":"never"}}"#;
    let refused = [rebuild(wrong, "application/json").await, rebuild(r#"{"build":1}"#, "application/json").await];
    assert!(refused.iter().all(|answer| answer.status == 400));
    let paths =
        |answer: &Answer| answer.json()["message"].as_array().unwrap().iter().map(|v| v["path"].clone()).collect();
    let paths: Vec<Vec<Value>> = refused.iter().map(paths).collect();
    assert_eq!(json!(paths), json!([["#/build/target", "#/build/pull"], ["#/build"]]));
}

/// A forge serves the commits of everybody's forks by their ids.
#[tokio::test]
async fn a_commit_that_nothing_reaches_is_an_admins_alone_also_in_a_rebuild() {
    let server = server(|_| {}).await;
    let id = "b".repeat(40);
    let body = |commit: &str| json!({"owner": "acme", "repo": "hello", "commit": commit}).to_string();
    // Each row has the role that makes a job and the role that rebuilds it, and whether each may build a commit that nothing
    // reaches.
    for (commit, made_by, rebuilt_by, expected) in [
        (&*id, "admin", "admin", ((true, false), (true, false))),
        (&id, "admin", "build", ((true, false), (false, false))),
        // The commit was built, so a branch or a tag reached it then.
        (&id, "build", "build", ((false, false), (false, true))),
        ("HEAD", "admin", "build", ((false, false), (false, true))),
    ] {
        let made = make(&server, made_by, &body(commit)).await.json()["id"].as_str().unwrap().to_owned();
        end(&server, Stages::pending()).await;
        let again = rebuild(&server, rebuilt_by, &made).await.json()["id"].as_str().unwrap().to_owned();
        let [made, again] = [made, again].map(|id| id.parse::<JobId>().unwrap());
        let grants = async |id| {
            let job = server.store.job(id).await.unwrap().unwrap();
            (job.any_commit, job.pushed)
        };
        assert_eq!((grants(made).await, grants(again).await), expected, "{commit} {made_by} {rebuilt_by}");
        server.store.cancel(again, "me").await.unwrap();
    }
}

#[tokio::test]
async fn a_branch_that_was_left_out_is_shown_and_remembered() {
    let server = server(|_| {}).await;
    for (body, left_out) in [
        (json!({"owner": "acme", "repo": "hello", "commit": "b".repeat(40)}), true),
        (json!({"owner": "acme", "repo": "hello", "commit": "b".repeat(40), "branch": "develop"}), false),
    ] {
        let made = make(&server, "build", &body.to_string()).await.json();
        assert_eq!(made["context"]["branch"], "develop");
        let stored = server.store.job(made["id"].as_str().unwrap().parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((stored.context.branch.as_str(), stored.context.branch_left_out), ("develop", left_out));
    }
}

#[tokio::test]
async fn a_rebuild_is_allowed_anew() {
    let server = server_with(|_| {}, |rules| rules.allow_repos = vec!["acme/*".into()]).await;
    let elsewhere = r#"{"owner":"acme","repo":"hello","dockerRepoBase":"q.io/other"}"#;
    let id = make(&server, "admin", elsewhere).await.json()["id"].as_str().unwrap().to_owned();
    end(&server, Stages::pending()).await;
    let answer = rebuild(&server, "build", &id).await;
    assert_eq!((answer.status, answer.error().2.contains("needs the role admin")), (403, true));
    assert_eq!(rebuild(&server, "admin", &id).await.status, 201);
    // This job was made when ALLOW_REPOS still named its owner.
    let context = server.store.job(id.parse().unwrap()).await.unwrap().unwrap().context;
    let other = crate::model::JobContext { owner: "gone".into(), ..context };
    end(&server, Stages::pending()).await;
    server.store.add_job(crate::model::NewJob::new(other, "q.io/other/x:1".into()), None).await.unwrap();
    let job = server.claim().await;
    server.finish(&job, Status::Success, Stages::pending()).await;
    let answer = rebuild(&server, "admin", &job.id.to_string()).await;
    assert_eq!((answer.status, answer.error().2.contains("the operator must name it in ALLOW_REPOS")), (403, true));
}

/// Returns the ids of a list.
fn ids(answer: &Answer) -> Vec<String> {
    answer.json().as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_list_is_filtered_by_commit_image_and_time() {
    let server = server(|_| {}).await;
    let full = "c0ffee".to_owned() + &"1".repeat(34);
    let made = make(&server, "build", &json!({"owner": "a", "repo": "b", "commit": full}).to_string()).await.json();
    let waiting = made["id"].as_str().unwrap();
    // This one is resolved to another commit.
    let head = server.store.job(server.job().await).await.unwrap().unwrap();
    let count = |query: String| {
        let server = &server;
        async move { ids(&server.get(&format!("/job?{query}")).await) }
    };
    for commit in ["c0ffee", "C0FFEE1", &full] {
        assert_eq!(count(format!("commit={commit}")).await, [waiting], "{commit}");
    }
    assert_eq!(count("commit=c0ffee2".into()).await.len(), 0);
    assert_eq!(count("commit=c0ffee&repository=acme/hello".into()).await.len(), 0);
    for (image, id) in [("127.0.0.1:5555/totem/a-b", waiting), (&head.image, &head.id.to_string())] {
        assert_eq!(count(format!("image={image}")).await, [id], "{image}");
    }
    for image in ["127.0.0.1:5555/totem/a", "127.0.0.1:5555/totem/a-b:c0ffee", "a-b"] {
        assert_eq!(count(format!("image={image}")).await.len(), 0, "{image}");
    }

    // The clock of the test may be on the same millisecond as the last change.
    let later = |time: Millis| Millis(time.0 + 1);
    let since = |time: Millis| count(format!("updatedSince={time}&limit=9"));
    assert_eq!(since(head.created).await[0], head.id.to_string());
    assert_eq!(since(later(head.created)).await.len(), 0);
    let before = Millis::now();
    tokio::time::sleep(Duration::from_millis(2)).await;
    let job = server.claim().await;
    assert_eq!(since(later(before)).await, [job.id.to_string()]);
    server.finish(&job, Status::Success, Stages::pending()).await;
    assert_eq!(count(format!("commit=aaaa&updatedSince={before}")).await, [job.id.to_string()]);
    for (query, message) in [
        ("commit=HEAD", "commit is the id of a commit, or its first 4 digits or more"),
        ("commit=c0f", "commit is the id of a commit, or its first 4 digits or more"),
        ("updatedSince=yesterday", "updatedSince is a time such as 2026-11-20T22:59:27.930Z"),
        ("order=oldest", "order is asc or desc"),
    ] {
        let answer = server.get(&format!("/job?{query}")).await;
        assert_eq!(answer.error(), (400, "InvalidArgument".into(), message.into()));
    }
}

#[tokio::test]
async fn what_a_list_does_not_know_is_passed_over_and_warned_of() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    let answer = server.get("/job?repo=other&repo=x&_=1&limit=5").await;
    assert_eq!((answer.status, ids(&answer)), (200, vec![id.to_string()]));
    let warnings: Vec<_> = answer.headers.get_all("warning").iter().map(|value| value.to_str().unwrap()).collect();
    let passed_over = |name: &str| format!("299 - \"the query parameter {name} is not known and was passed over\"");
    assert_eq!(warnings, [passed_over("_"), passed_over("repo")]);
    assert_eq!(server.get("/job?limit=5").await.header("warning"), "");
}

#[tokio::test]
async fn an_answer_that_is_known_is_not_sent_again() {
    let server = server(|_| {}).await;
    let id = server.job().await;
    for path in ["/job".to_owned(), "/job?limit=1".into(), format!("/job/{id}")] {
        let tag = server.get(&path).await.header("etag").to_owned();
        let again = |tags: String| send(server.as_role("read", "GET", &path).header("if-none-match", tags));
        for tags in [tag.clone(), format!("\"x\", W/{tag}"), "*".into()] {
            let answer = again(tags).await;
            assert_eq!((answer.status, answer.header("etag"), answer.body.len()), (304, &*tag, 0), "{path}");
            assert!(answer.header("link").contains("describedBy"));
        }
        assert_eq!(again("\"x\"".into()).await.status, 200);
    }
    let tag = server.get("/job").await.header("etag").to_owned();
    server.claim().await;
    let answer = send(server.as_role("read", "GET", "/job").header("if-none-match", &tag)).await;
    assert_eq!((answer.status, answer.header("etag") == tag), (200, false));
}

#[tokio::test]
async fn the_originals_list_is_whole_and_begins_with_the_oldest() {
    let server = server(|config| config.list_oldest = true).await;
    let empty = server.get("/job").await;
    assert_eq!(
        (empty.status, empty.text(), empty.header("link")),
        (200, "[]".into(), r#"</_schema/job-list>; rel="describedBy""#)
    );
    // One piece exactly, and some more.
    let mut made = Vec::new();
    for count in [100, 105] {
        let context = || {
            serde_json::from_value(json!({"owner": "acme", "repo": "hello", "branch": "develop",
            "commit": "HEAD", "github": true, "dockerRepoBase": "q.io/t", "tag": "HEAD"}))
        };
        for _ in 0..count {
            let new = crate::model::NewJob::new(context().unwrap(), "q.io/t/acme-hello:HEAD".into());
            let crate::store::Added::New(job) = server.store.add_job(new, None).await.unwrap() else { panic!() };
            made.push(job.id.to_string());
        }
        let answer = server.get("/job").await;
        assert_eq!(answer.header("content-type"), "application/vnd.sh.melt.cdp.if.job-list.v1+json");
        assert_eq!(ids(&answer), made);
    }
    assert_eq!(ids(&server.get("/job?status=pending&order=asc").await), made);
    assert_eq!(ids(&server.get("/job?status=success").await).len(), 0);
    // A caller that names a limit or an order, as our own clients do, gets what it asks for.
    assert_eq!(ids(&server.get("/job?limit=1").await), made[204..]);
    assert_eq!(ids(&server.get("/job?order=desc").await)[0], made[204]);
    let page = server.get("/job?order=asc&limit=2").await;
    assert_eq!(ids(&page), made[..2]);
    let next = format!("/job?limit=2&cursor={}&order=asc", made[1]);
    assert!(page.header("link").ends_with(&format!("<{next}>; rel=\"next\"")), "{}", page.header("link"));
    assert_eq!(ids(&server.get(&next).await), made[2..4]);
}
