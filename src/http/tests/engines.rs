use std::sync::Mutex;

use super::*;
use crate::http::EngineHandle;
use crate::model::{Builder, EngineCondition, EngineDisk, EngineJob, EngineState};

/// Two engines that are well and have these jobs.
pub fn handle(jobs: Vec<EngineJob>) -> EngineHandle {
    let engine = |name: &str, jobs: Vec<EngineJob>| EngineState {
        name: name.into(),
        version: Some("26.1.5".into()),
        builder: Some(Builder::Buildkit),
        condition: EngineCondition::Well,
        trouble: None,
        cordon: None,
        slots: 2,
        used: jobs.len(),
        jobs,
        kept: 3,
        disk: EngineDisk { free: Some(5 << 30), floor: 2 << 30, budget: 20 << 30 },
    };
    let engines = [engine("unix:///run/docker.sock", jobs), engine("tcp://engine-2.example.com:2376", Vec::new())];
    let engines = Arc::new(Mutex::new(engines));
    let theirs = engines.clone();
    EngineHandle {
        states: Arc::new(move || engines.lock().unwrap().to_vec()),
        usage: Arc::new(|| Box::pin(async { vec![Some(700 << 20), None] })),
        open_file: Arc::new(|_, _, path| Box::pin(async move { files::open(&path) })),
        set_cordon: Arc::new(move |name, cordon| {
            let mut engines = theirs.lock().unwrap();
            engines.iter_mut().find(|engine| engine.name == name).unwrap().cordon = cordon;
        }),
    }
}

async fn admin(server: &Server, path: &str, body: &str) -> Answer {
    send(server.as_role("admin", "POST", path).body(body.to_owned())).await
}

#[tokio::test]
async fn engines_are_shown_with_their_jobs() {
    let id = JobId::new();
    let job = EngineJob { id, repository: "acme/hello".into(), since: Millis(0) };
    let server = server(|config| config.engines = handle(vec![job])).await;
    // The engine's job is not in this store, as it is after its deletion.
    insta::assert_json_snapshot!(server.get("/engines").await.json(), @r#"
    [
      {
        "builder": "buildkit",
        "cordonTime": null,
        "cordonedBy": null,
        "disk": {
          "budgetBytes": 21474836480,
          "floorBytes": 2147483648,
          "freeBytes": 5368709120,
          "ourBytes": 734003200
        },
        "draining": false,
        "health": "well",
        "index": 1,
        "jobs": [],
        "keptContainers": 3,
        "name": "unix:///run/docker.sock",
        "slots": 2,
        "trouble": null,
        "usedSlots": 1,
        "version": "26.1.5"
      },
      {
        "builder": "buildkit",
        "cordonTime": null,
        "cordonedBy": null,
        "disk": {
          "budgetBytes": 21474836480,
          "floorBytes": 2147483648,
          "freeBytes": 5368709120,
          "ourBytes": null
        },
        "draining": false,
        "health": "well",
        "index": 2,
        "jobs": [],
        "keptContainers": 3,
        "name": "tcp://engine-2.example.com:2376",
        "slots": 2,
        "trouble": null,
        "usedSlots": 0,
        "version": "26.1.5"
      }
    ]
    "#);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("image_factory_engine_up{engine=\"unix:///run/docker.sock\"} 1"), "{metrics}");
    assert!(metrics.contains("image_factory_engine_cordoned{engine=\"unix:///run/docker.sock\"} 0"), "{metrics}");
}

#[tokio::test]
async fn an_engine_is_named_by_its_place_or_the_beginning_of_its_name() {
    let server = server(|_| {}).await;
    for (name, index) in [
        ("1", 1),
        ("unix", 1),
        ("/run", 1),
        ("unix:%2F%2F%2Frun%2Fdocker.sock", 1),
        ("engine-2", 2),
        ("tcp:%2F%2Fengine-2.example.com:2376", 2),
        ("2", 2),
    ] {
        let answer = admin(&server, &format!("/engines/{}/cordon", name.replace('/', "%2F")), "").await;
        assert_eq!((answer.status, &answer.json()["index"]), (200, &index.into()), "{name}: {}", answer.text());
    }
    let mut said = String::new();
    for name in ["3", "0", "docker"] {
        let (status, code, message) = admin(&server, &format!("/engines/{name}/drain"), "").await.error();
        said += &format!("{status} {code} {message}\n");
    }
    let (status, code, message) = admin(&server, "/engines/1/drain", r#"{"soon":true}"#).await.error();
    said += &format!("{status} {code} {message}\n");
    insta::assert_snapshot!(said, @r"
    404 ResourceNotFound No engine begins with 3; there are: unix:///run/docker.sock, tcp://engine-2.example.com:2376
    404 ResourceNotFound No engine begins with 0; there are: unix:///run/docker.sock, tcp://engine-2.example.com:2376
    404 ResourceNotFound No engine begins with docker; there are: unix:///run/docker.sock, tcp://engine-2.example.com:2376
    400 InvalidContent Invalid JSON: unknown field `soon`, expected `now` at line 1 column 7
    ");
}

#[tokio::test]
async fn a_cordon_is_stored_and_ended_by_admins_alone() {
    let server = server(|_| {}).await;
    for role in ["read", "build"] {
        let answer = send(server.as_role(role, "POST", "/engines/1/cordon")).await;
        assert_eq!(answer.status, 403, "{role}");
    }
    let token = send(
        server.as_role("admin", "POST", "/tokens").body(r#"{"name":"acme","role":"build","repositories":["acme/*"]}"#),
    )
    .await;
    let limited = server.request("GET", "/engines").bearer_auth(token.json()["token"].as_str().unwrap());
    assert_eq!(send(limited).await.status, 403);
    assert_eq!(send(server.request("GET", "/engines")).await.status, 401);

    let cordoned = admin(&server, "/engines/1/drain", "").await.json();
    assert_eq!((&cordoned["cordonedBy"], &cordoned["draining"]), (&"admin".into(), &false.into()));
    assert_eq!(server.store.cordons().await.unwrap()["unix:///run/docker.sock"].by, "admin");
    let again = admin(&server, "/engines/1/cordon", "").await.json();
    assert_eq!(again["cordonTime"], cordoned["cordonTime"]);
    let free = admin(&server, "/engines/1/uncordon", "").await.json();
    assert!(free["cordonTime"].is_null() && server.store.cordons().await.unwrap().is_empty());
}
