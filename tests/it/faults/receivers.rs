use std::io::{Read, Write};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Capture, Silent, World, listen};

/// Answers each request without end: headers, or a body.
fn endless(answer: &'static [u8], more: &'static [u8]) -> u16 {
    let listener = listen();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(answer);
                while stream.write_all(more).is_ok() {}
            });
        }
    });
    port
}

/// Resident memory, in KiB.
fn memory(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// One target fails for a while, one never answers, two answer without end: each other one is told in time, and the
/// daemon neither grows nor hangs.
#[tokio::test]
async fn bad_receivers_do_not_disturb_other_work() {
    let (good, failing, silent) = (Capture::start(&[]), Capture::start(&[500, 503]), Silent::start());
    let body = endless(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", &[b'x'; 65536]);
    let headers = endless(b"HTTP/1.1 500 Oops\r\n", b"X-More: and more of it, and more of it, and more of it\r\n");
    let urls = [
        format!("http://127.0.0.1:{body}/"),
        format!("http://127.0.0.1:{headers}/"),
        format!("http://127.0.0.1:{}/", silent.port()),
        failing.url(),
        good.url(),
    ];
    let mut world = World::start_with(&[("HOOK_POST_URL", &urls.join(","))]).await;
    world.repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN true\n")]);
    let before = memory(world.daemon.pid());
    let mut told = 0;
    for _ in 0..3 {
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        world.daemon.wait_success(&id).await;
        let ended = Instant::now();
        told += 1;
        good.wait(told, Duration::from_secs(10)).await;
        // A slow one takes ten seconds to be given up.
        assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    }
    let sent = failing.wait(5, Duration::from_secs(30)).await;
    let mut ids: Vec<_> = sent.iter().map(|request| request.headers["x-hook-id"].to_str().unwrap()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3, "three outcomes, two sent again with their ids");
    let grown = memory(world.daemon.pid()).saturating_sub(before);
    assert!(grown < 60 << 10, "{grown} KiB more");
    let status = world.daemon.term(Duration::from_secs(10)).await;
    assert!(status.success(), "{status}");
}
