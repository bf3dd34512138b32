use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Capture, World, eventually, folder, unique};

/// The daemon's clock, by libfaketime: it reads this file at each look at the time. As when somebody sets a machine's clock,
/// what measures durations goes on as it did.
struct Clock(PathBuf);

impl Clock {
    /// `+5h` ahead of the machine's, `-5h` behind it.
    fn set(&self, offset: &str) {
        // Renamed, so that no half of it is read.
        let new = self.0.with_extension("new");
        std::fs::write(&new, format!("{offset}\n")).unwrap();
        std::fs::rename(new, &self.0).unwrap();
    }
}

async fn world(clock: &Clock, more: &[(&str, &str)]) -> World {
    clock.set("+0");
    let library = format!("/usr/lib/{}-linux-gnu/faketime/libfaketimeMT.so.1", std::env::consts::ARCH);
    assert!(std::fs::exists(&library).unwrap(), "{library} is missing: run `make setup`");
    let mut settings = vec![
        ("LD_PRELOAD", library.as_str()),
        ("FAKETIME_TIMESTAMP_FILE", clock.0.to_str().unwrap()),
        ("FAKETIME_NO_CACHE", "1"),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    settings.extend(more);
    World::start_with(&settings).await
}

fn millis(time: &Value) -> i64 {
    let text = time.as_str().unwrap_or_else(|| panic!("no time: {time}"));
    let format = &time::format_description::well_known::Rfc3339;
    (time::OffsetDateTime::parse(text, format).unwrap().unix_timestamp_nanos() / 1_000_000) as i64
}

/// A build is neither ended nor begun anew because a clock was set, and the next ones run at once.
#[tokio::test]
async fn builds_go_on_while_the_clock_jumps() {
    let dir = folder();
    let clock = Clock(dir.path().join("clock"));
    let capture = Capture::start(&[]);
    let world = world(&clock, &[("HOOK_POST_URL", &capture.url()), ("BUILD_TIMEOUT", "60s")]).await;
    for (round, offset) in ["+6h", "-6h", "+0"].into_iter().enumerate() {
        let dockerfile = format!("FROM image-factory-busybox:1\nRUN echo {} ru''ns; sleep 2\n", unique());
        let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
        world.daemon.wait_log(&id, "runs").await;
        clock.set(offset);
        let job = world.daemon.wait_success(&id).await;
        assert_eq!(job["attempt"], 1, "{offset}: {job:#}");
        capture.wait(round + 1, Duration::from_secs(10)).await;
        // This job's times come from the new clock.
        let quick = world
            .repo
            .commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nLABEL n={}\n", unique()))]);
        let id = world.daemon.push_event("acme/hello", "develop", &quick).await;
        let job = world.daemon.wait_success(&id).await;
        let (start, end) = (millis(&job["startTime"]), millis(&job["endTime"]));
        assert!((0..60_000).contains(&(end - start)), "{offset}: {job:#}");
    }
    let said = world.daemon.output();
    assert!(!said.contains("lease") && !said.contains("panicked"), "{said}");
}

/// A clock is hours ahead when a retry is due in a second. The retry does not wait for hours once the clock is right.
#[tokio::test]
async fn a_notification_does_not_wait_for_a_clock_that_was_wrong() {
    let dir = folder();
    let clock = Clock(dir.path().join("clock"));
    let capture = Capture::start(&[500]);
    let world = world(&clock, &[("HOOK_POST_URL", &capture.url())]).await;
    clock.set("+6h");
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    world.daemon.wait_success(&id).await;
    capture.wait(1, Duration::from_secs(10)).await;
    clock.set("+0");
    let sent = capture.wait(2, Duration::from_secs(90)).await;
    assert_eq!(sent[0].headers["x-hook-id"], sent[1].headers["x-hook-id"]);
    eventually(Duration::from_secs(5), "it was told", async || (capture.requests().len() >= 2).then_some(())).await;
}
