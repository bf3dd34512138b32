//! The time from the start of the test stage to the first output of its command, beside `docker run` of the same image and
//! command. The engine's own time of the output counts for both.

use std::time::{Duration, SystemTime};

use super::harness::{COMPOSE_CI, World, unique};
use super::{Row, median, ms};
use image_factory::model::Millis;

const RUNS: usize = 9;
/// Files of the commit, which are uploaded into the container, and the largest ratio. An engine takes about a millisecond
/// for each file.
const FILES: [(usize, f64); 2] = [(20, 1.3), (300, 2.0)];

pub async fn measure() -> Vec<Row> {
    let mut rows = Vec::new();
    for (files, target) in FILES {
        rows.push(one(files, target).await);
    }
    rows
}

async fn one(files: usize, target: f64) -> Row {
    let own = [("HOOK", "echo begun"), ("GARBAGE_COLLECT", "0")];
    let world = World::start_with(&[&COMPOSE_CI[..], &own].concat()).await;
    let contents: Vec<_> = (0..files).map(|n| (format!("src/{n}"), "x".repeat(4000))).collect();
    let contents: Vec<_> = contents.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repo.commit("develop", &contents);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let dockerfile = format!("FROM image-factory-busybox:1\nLABEL unique={}\n", unique());
        let sha = world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.ci_push("acme/hello", "develop", &sha).await;
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
    Row {
        what: format!("test stage → first output, {files} files"),
        measured: format!("{} ({ratio:.2} × docker run, {})", ms(ours), ms(theirs)),
        target: format!("≤ {target} × docker run"),
        met: ratio <= target,
    }
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
