use std::fs;

use super::*;

#[tokio::test]
async fn a_program_that_ends_is_started_again_and_ends_by_sigterm() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    // The first two ends are its own, the third one is by the signal.
    let script = "echo >>starts; [ $(wc -l <starts) -gt 2 ] || exit 3; trap 'touch stopped; exit' TERM; touch up; \
                  while :; do sleep 0.01; done";
    let program = || Program::new("sh").args(["-c", script]).current_dir(dir.path()).service();
    let (service, stop) = (Service { name: "sh", program, grace: Duration::from_secs(60) }, CancellationToken::new());
    let up = async {
        while !at("up").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(service.run(stop.clone()), up) };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!(fs::read_to_string(at("starts")).unwrap(), "\n\n\n");
    assert!(at("stopped").exists());
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; touch up; while :; do sleep 0.01; done";
    let program = || Program::new("sh").args(["-c", script]).current_dir(dir.path()).service();
    let (service, stop) = (Service { name: "sh", program, grace: Duration::from_millis(20) }, CancellationToken::new());
    let up = async {
        while !dir.path().join("up").exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    let both = async { tokio::join!(service.run(stop.clone()), up) };
    tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
}
