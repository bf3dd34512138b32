//! `GET /metrics`, read by Prometheus' own tool, and what is made of it: the dashboard and the alerts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use regex::Regex;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Capture, Daemon, Settings, World, eventually, push_payload, succeed, unique};

/// The values by name and labels, `name{label="value"}`, of text that promtool takes without a complaint.
async fn metrics(daemon: &Daemon) -> BTreeMap<String, f64> {
    let answer = daemon.request(Method::GET, "/metrics").send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let text = answer.text().await.unwrap();
    let said = succeed(Command::new("promtool").args(["check", "metrics"]), text.as_bytes());
    assert!(said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.into(), value.parse().unwrap()))
        .collect()
}

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The families that a text names.
fn families(text: &str) -> BTreeSet<String> {
    let name = Regex::new(r"\b(?:image_factory|process)_[a-z_]+[a-z]\b").unwrap();
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    name.find_iter(text).map(|found| base(found.as_str())).collect()
}

#[tokio::test]
async fn metrics_of_a_daemon_without_jobs() {
    let settings =
        [("CONCURRENCY", "0"), ("API_TOKENS", "scraper:read:0123456789abcdef"), ("DOCKER_HOST", "unix:///nowhere")];
    let daemon = Daemon::start(Settings::from(settings.map(|(name, value)| (name.into(), value.into())))).await;
    assert_eq!(daemon.bare_request(Method::GET, "/metrics").send().await.unwrap().status(), 401);
    let scraper = daemon.bare_request(Method::GET, "/metrics").bearer_auth("0123456789abcdef");
    assert_eq!(scraper.send().await.unwrap().status(), 200);
    let loaded = async || (metrics(&daemon).await["image_factory_secrets_loaded"] == 1.0).then_some(());
    eventually(Duration::from_secs(10), "the secrets are loaded", loaded).await;
    let now = metrics(&daemon).await;
    for (name, value) in [
        ("image_factory_store_readable", 1.0),
        ("image_factory_jobs{status=\"pending\"}", 0.0),
        ("image_factory_oldest_pending_age_seconds", 0.0),
        ("image_factory_engine_up{engine=\"unix:///nowhere\"}", 0.0),
        ("image_factory_jobs_ended_total{class=\"engine\",status=\"failure\"}", 0.0),
        ("image_factory_webhooks_total{result=\"accepted\"}", 0.0),
        (&format!("image_factory_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name} of {now:#?}");
    }
    for part in ["process_resident_memory_bytes", "process_open_fds", "image_factory_disk_free_bytes"] {
        assert!(now[part] > 0.0, "{part}");
    }
    for part in ["queue", "outbox", "http"] {
        assert!(now[&format!("image_factory_heartbeat_age_seconds{{loop=\"{part}\"}}")] < 20.0, "{now:#?}");
    }
    daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    let now = metrics(&daemon).await;
    assert_eq!(now["image_factory_jobs{status=\"pending\"}"], 1.0);
    assert!(now["image_factory_store_commits_total"] > 0.0);
    let ages = async || (metrics(&daemon).await["image_factory_oldest_pending_age_seconds"] > 0.5).then_some(());
    eventually(Duration::from_secs(10), "the job ages", ages).await;
}

/// The counters match the events. The metrics are exactly those that the documents name.
#[tokio::test]
async fn events_are_counted() {
    let capture = Capture::start(&[500, 410, 204]);
    let mut world = World::start_with(&[("HOOK_POST_URL", &capture.url())]).await;
    let daemon = &world.daemon;
    let step = format!("FROM image-factory-busybox:1\nRUN echo {}\n", unique());
    let sha = world.repo.commit("develop", &[("Dockerfile", &step)]);
    let payload = push_payload("acme/hello", "refs/heads/develop", &sha);
    let job: Value = daemon.hook("push", &payload).await.json().await.unwrap();
    daemon.wait_success(job["id"].as_str().unwrap()).await;
    assert_eq!(daemon.hook("push", &payload).await.status(), 201);
    assert_eq!(daemon.hook("ping", &payload).await.status(), 204);
    let unsigned = daemon.bare_request(Method::POST, "/hooks/github").body("{}").send().await.unwrap();
    assert_eq!(unsigned.status(), 401);
    let again = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    daemon.wait_success(&again).await;
    let nothing = daemon.submit(json!({"owner": "acme", "repo": "nothing"})).await;
    let nothing = daemon.wait_failure(&nothing).await;

    // The first hook fails twice, for the second time for good; the others arrive.
    capture.wait(4, Duration::from_secs(30)).await;
    let dead = "image_factory_outbox{channel=\"post-build\",state=\"dead\"}";
    let settled = async || {
        let now = metrics(daemon).await;
        let unsent = now.contains_key("image_factory_outbox{channel=\"post-build\",state=\"due\"}");
        (now.contains_key(dead) && !unsent).then_some(now)
    };
    let now = eventually(Duration::from_secs(30), "the outbox has settled", settled).await;
    for (name, value) in [
        (dead, 1.0),
        ("image_factory_webhooks_total{result=\"accepted\"}", 1.0),
        ("image_factory_webhooks_total{result=\"duplicate\"}", 1.0),
        ("image_factory_webhooks_total{result=\"ignored\"}", 1.0),
        ("image_factory_webhooks_total{result=\"refused\"}", 1.0),
        ("image_factory_webhooks_total{result=\"failed\"}", 0.0),
        ("image_factory_jobs_ended_total{class=\"\",status=\"success\"}", 2.0),
        ("image_factory_jobs{status=\"running\"}", 0.0),
        ("image_factory_notification_tries_total{channel=\"post-build\",result=\"sent\"}", 2.0),
        ("image_factory_notification_tries_total{channel=\"post-build\",result=\"again\"}", 1.0),
        ("image_factory_notification_tries_total{channel=\"post-build\",result=\"dead\"}", 1.0),
        ("image_factory_stage_duration_seconds_count{stage=\"push\",status=\"success\"}", 2.0),
        ("image_factory_stage_duration_seconds_count{stage=\"clone\",status=\"failure\"}", 1.0),
        ("image_factory_queue_wait_seconds_count", 3.0),
        ("image_factory_job_attempts_total", 3.0),
        ("image_factory_secret_valid{kind=\"github-key\"}", 1.0),
        ("image_factory_secret_valid{kind=\"dockercfg\"}", 1.0),
    ] {
        assert_eq!(now.get(name), Some(&value), "{name} of {now:#?}");
    }
    // FROM and RUN, of which the second build found at least RUN in the cache.
    let steps = |result: &str| now[&format!("image_factory_build_steps_total{{result=\"{result}\"}}")];
    assert!(steps("run") >= 1.0 && steps("cached") >= 1.0 && steps("run") + steps("cached") == 4.0, "{now:#?}");
    let class = nothing["failureClass"].as_str().unwrap_or("source");
    assert_eq!(
        now[&format!("image_factory_jobs_ended_total{{class=\"{class}\",status=\"failure\"}}")],
        1.0,
        "{now:#?}"
    );

    let text = daemon.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    let shown = families(&text.lines().filter(|line| line.starts_with("# HELP")).collect::<Vec<_>>().join("\n"));
    let documented = families(&read("api.md"));
    assert_eq!(shown.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not in api.md");
    // No job runs now, so none is shown by its engine.
    let shown: BTreeSet<_> = shown.into_iter().chain(["image_factory_builds_running".into()]).collect();
    for path in ["api.md", "etc/grafana-dashboard.json", "etc/prometheus-alerts.yaml"] {
        let missing: Vec<_> = families(&read(path)).difference(&shown).cloned().collect();
        assert!(missing.is_empty(), "{path} names {missing:?}, which /metrics does not show");
    }

    // Counters of jobs are the store's, and so survive.
    world.daemon.kill9();
    world.daemon.restart().await;
    assert_eq!(metrics(&world.daemon).await["image_factory_jobs_ended_total{class=\"\",status=\"success\"}"], 2.0);
}

#[test]
fn the_dashboard_and_the_alerts_are_valid() {
    let dashboard: Value = serde_json::from_str(&read("etc/grafana-dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert!(panels.len() > 8 && ids.len() == panels.len());
    let queries: Vec<_> = panels.iter().flat_map(|panel| panel["targets"].as_array().unwrap()).collect();
    // promtool knows rules and no dashboards: as rules, the queries are parsed.
    let rules = queries.iter().enumerate().map(|(n, query)| {
        let expr = query["expr"].as_str().unwrap().replace("$__rate_interval", "5m");
        json!({ "record": format!("panel:{n}"), "expr": expr })
    });
    let file = json!({ "groups": [{ "name": "panels", "rules": rules.collect::<Vec<_>>() }] });
    let dir = crate::harness::folder();
    fs::write(dir.path().join("rules.json"), file.to_string()).unwrap();
    let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/prometheus-alerts.yaml");
    for path in [dir.path().join("rules.json"), alerts] {
        succeed(Command::new("promtool").args(["check", "rules"]).arg(path), b"");
    }
}
