//! The daemon's messages to systemd, received on a socket of the test.

use std::time::Duration;

use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::harness::{Daemon, Settings, Supervisor, eventually};

const LIMIT: Duration = Duration::from_secs(30);
/// The interval that WatchdogSec=1s sets.
const WATCHDOG: Duration = Duration::from_secs(1);

async fn daemon(supervisor: &Supervisor) -> Daemon {
    let (watchdog, socket) = (WATCHDOG.as_micros().to_string(), supervisor.path());
    let own = [
        ("NOTIFY_SOCKET", socket.to_str().unwrap()),
        ("WATCHDOG_USEC", &watchdog),
        ("CONCURRENCY", "0"),
        ("DOCKER_HOST", "unix:///nowhere/docker.sock"),
    ];
    Daemon::start(Settings::from(own.map(|(name, value)| (name.to_owned(), value.to_owned())))).await
}

async fn fed(supervisor: &Supervisor, times: usize) {
    let before = supervisor.count("WATCHDOG=1");
    let more = async || (supervisor.count("WATCHDOG=1") >= before + times).then_some(());
    eventually(LIMIT, "the watchdog is fed", more).await;
}

#[tokio::test]
async fn systemd_gets_readiness_watchdog_and_status_until_the_stop() {
    let supervisor = Supervisor::start();
    let mut daemon = daemon(&supervisor).await;
    fed(&supervisor, 5).await;
    assert_eq!(supervisor.heard()[0].1, "READY=1");
    let times: Vec<_> =
        supervisor.heard().into_iter().filter(|(_, line)| line == "WATCHDOG=1").map(|(at, _)| at).collect();
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < WATCHDOG), "{times:?}");
    let states = || {
        supervisor
            .heard()
            .into_iter()
            .map(|(_, line)| line)
            .filter(|line| line.starts_with("STATUS="))
            .collect::<Vec<_>>()
    };
    assert!(states()[0].starts_with("STATUS=0 running, 0 pending; degraded: "), "{:?}", states());

    let pending =
        supervisor.next("the job is told", |line| line.starts_with("STATUS=0 running, 1 pending; degraded: "));
    let submit = daemon.submit(json!({"owner": "acme", "repo": "hello"}));
    let (line, _) = tokio::join!(pending, submit);
    assert!(line.contains("/nowhere/docker.sock"), "{line}");
    // The daemon sends a status only when it changes.
    fed(&supervisor, 2).await;
    assert!(states().windows(2).all(|pair| pair[0] != pair[1]), "{:?}", states());

    let status = daemon.term(LIMIT).await;
    assert!(status.success(), "{status}");
    assert_eq!(supervisor.count("STOPPING=1"), 1);
}

/// Another program keeps the store from being written to (as a disk that hangs would): systemd hears nothing until that
/// is over, and the log says why.
#[tokio::test]
async fn the_watchdog_is_not_fed_while_nothing_can_be_stored() {
    let supervisor = Supervisor::start();
    let daemon = daemon(&supervisor).await;
    fed(&supervisor, 1).await;
    let file = daemon.data_dir().join("image-factory.db");
    let mut other = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let told = async || {
        supervisor.heard();
        daemon.output().contains("the watchdog of systemd is not fed").then_some(())
    };
    eventually(LIMIT, "the log says that it is not fed", told).await;
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    other.close().await.unwrap();
    fed(&supervisor, 2).await;
    let times: Vec<_> =
        supervisor.heard().into_iter().filter(|(_, line)| line == "WATCHDOG=1").map(|(at, _)| at).collect();
    let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
    assert!(longest > WATCHDOG, "systemd would not have noticed: {longest:?}");
}
