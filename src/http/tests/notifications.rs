use serde_json::json;

use super::*;
use crate::store::{Announce, NewNotification};

impl Server {
    /// Ends a job with three notifications: one is dead, one sent, one due.
    pub(super) async fn notified(&self) -> JobId {
        let id = self.job().await;
        let job = self.claim().await;
        let row = |n: usize| NewNotification {
            channel: if n == 2 { "mail" } else { "post-build" },
            destination: format!("d{n}"),
            lane: format!("lane {n}"),
            replaces: false,
            body: "the body".into(),
        };
        let announce: Announce = Arc::new(move |_, _| (0..3).map(row).collect());
        let outcome = Outcome {
            status: Status::Failure,
            stages: Stages::pending(),
            resolved_commit: None,
            digest: None,
            cause: None,
            class: None,
            superseded_by: None,
            tags: Vec::new(),
        };
        self.store.clone().with_announce(announce).finish(job.id, job.attempt, &outcome).await.unwrap();
        let due = self.store.due_notifications(9).await.unwrap();
        let at = |destination: &str| due.iter().find(|n| n.destination == destination).unwrap().id.clone();
        self.store.notification_failed(&at("d0"), "it was answered 410 Gone", None).await.unwrap();
        self.store.notification_sent(&at("d1")).await.unwrap();
        id
    }
}

#[tokio::test]
async fn notifications_are_listed() {
    let server = server(|_| {}).await;
    let job = server.notified().await;
    let answer = server.get("/notifications").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let all = answer.json();
    let states: Vec<_> = all.as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["due", "sent", "dead"]);
    let dead = all[2].clone();
    assert!(dead["endTime"].is_string() && dead["createTime"].is_string());
    assert_eq!(
        dead,
        json!({"id": dead["id"], "job": job.to_string(), "channel": "post-build", "host": "d0.example", "state": "dead",
            "attempts": 1, "createTime": dead["createTime"], "nextTime": null, "endTime": dead["endTime"],
            "error": "it was answered 410 Gone"})
    );
    assert_eq!((&all[0]["host"], &all[0]["endTime"]), (&json!(null), &json!(null)));
    assert!(all[0]["nextTime"].is_string());
    assert!(!answer.text().contains("the body"));

    assert_eq!(server.get("/notifications?state=dead").await.json(), json!([dead]));
    assert_eq!(server.get(&format!("/notifications?job={job}")).await.json(), all);
    assert_eq!(server.get(&format!("/notifications?job={}&state=dead", JobId::new())).await.json(), json!([]));
    let first = server.get(&format!("/notifications?limit=2&job={job}")).await;
    assert_eq!(first.json(), json!([all[0], all[1]]));
    let next = first.header("link").strip_prefix('<').unwrap().strip_suffix(r#">; rel="next""#).unwrap();
    let last = server.get(next).await;
    assert_eq!((last.json(), last.header("link")), (json!([dead]), ""));
}

#[tokio::test]
async fn an_admin_sends_a_dead_notification_again() {
    let server = server(|_| {}).await;
    server.notified().await;
    let all = server.get("/notifications").await.json();
    let path = |n: usize| format!("/notifications/{}/replay", all[n]["id"].as_str().unwrap());
    let replay = async |role: &str, path: &str| send(server.as_role(role, "POST", path)).await;
    for role in ["read", "build"] {
        assert_eq!(replay(role, &path(2)).await.status, 403);
    }
    let again = replay("admin", &path(2)).await;
    assert_eq!((again.status, &again.json()["state"], &again.json()["id"]), (200, &json!("due"), &all[2]["id"]));
    let refused = |code: &str, message: &str| (code.to_owned(), message.to_owned());
    for (path, status, (code, message)) in [
        (path(2), 409, refused("ConflictError", "The notification is due: only a dead one is sent again")),
        (path(1), 409, refused("ConflictError", "The notification is sent: only a dead one is sent again")),
        (
            "/notifications/x/replay".into(),
            404,
            refused("ResourceNotFound", "Unable to locate notification with id: x"),
        ),
    ] {
        assert_eq!(replay("admin", &path).await.error(), (status, code, message));
    }
}

#[tokio::test]
async fn a_bad_filter_is_refused() {
    let server = server(|_| {}).await;
    for (query, message) in [
        ("state=lost", "state is one of due, sent, replaced, dead"),
        ("limit=0", "limit is a number from 1 to 1000"),
        ("job=7", "job is the id of a job"),
        ("cursor=7", "cursor is the id of a notification"),
    ] {
        let answer = server.get(&format!("/notifications?{query}")).await;
        assert_eq!(answer.error(), (400, "InvalidArgument".into(), message.into()));
    }
    assert_eq!(send(server.request("GET", "/notifications")).await.status, 401);
}
