//! The time from the start of the test stage to the first output of its command, beside `docker run` of the same image and
//! command. The engine's own time of the output counts for both.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::harness::{World, unique};
use super::{Row, median, ms};
use image_factory::model::Millis;

const RUNS: usize = 9;
/// Files of the commit, which are uploaded into the container.
const FILES: usize = 300;

pub async fn measure() -> Vec<Row> {
    let world = World::start_with(&[("HOOK", "echo begun"), ("GARBAGE_COLLECT", "0")]).await;
    world.test_jobs_where("TRUE").await;
    let files: Vec<_> = (0..FILES).map(|n| (format!("src/{n}"), "x".repeat(4000))).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repo.commit("develop", &files);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dockerfile = format!("FROM image-factory-busybox:1\nLABEL unique={}\n", unique());
        let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let job = json!({ "owner": "acme", "repo": "hello", "branch": "develop", "commit": sha });
        let id = world.daemon.submit(job).await;
        let job = world.daemon.wait_success(&id).await;
        let start = time(job["results"]["test"]["startTime"].as_str().unwrap());
        ours.push(first_output(&world, &id).duration_since(start).unwrap());

        let (name, start) = (format!("bench-{}", unique()), SystemTime::now());
        world.engine.docker(&["run", "--name", &name, job["image"].as_str().unwrap(), "echo", "begun"]);
        theirs.push(first_output(&world, &name).duration_since(start).unwrap());
        [&id, &name].into_iter().for_each(|name| world.engine.remove_container(name));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    vec![Row {
        what: format!("test stage → first output, {FILES} files"),
        measured: format!("{} ({ratio:.2} × docker run, {})", ms(ours), ms(theirs)),
        target: "≤ 1.3 × docker run".into(),
        met: ratio <= 1.3,
    }]
}

/// Returns the engine's time of the first line of a container.
fn first_output(world: &World, container: &str) -> SystemTime {
    let logged = world.engine.docker(&["logs", "--timestamps", container]);
    time(logged.split(' ').next().unwrap())
}

fn time(text: &str) -> SystemTime {
    let millis: Millis = text.parse().unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_millis(millis.0 as u64)
}
