//! Push event → manifest in the registry on each engine that runs, by the program under test and by an older one, by turns.
//! BENCH_BEFORE names the older one, and BENCH_BINARY may name the newer one. `ENGINES=all scripts/setup --tests` starts the
//! engines. The harness waits, so the programs' profile counts and not its own:
//! `BENCH_BEFORE=… BENCH_BINARY=… cargo bench --profile dev --bench main -- engines-300 engines-20000`.

use std::time::{Duration, Instant};

use super::harness::{BENCH_BINARY, Docker, Engine, World, binary};
use super::push::{Order, fill};
use super::{Row, median, ms, poll};

/// `files` of 3 KB, of which each push changes one; medians of `rounds`.
pub async fn measure(files: usize, rounds: usize) -> Vec<Row> {
    let Ok(before) = std::env::var("BENCH_BEFORE") else {
        eprintln!("engines-{files} is left out: BENCH_BEFORE names no older image-factory");
        return Vec::new();
    };
    let mut rows = Vec::new();
    for docker in Docker::ALL {
        match Engine::running(docker) {
            Ok(engine) => rows.push(on_one(docker, engine, files, rounds, &before).await),
            Err(host) => eprintln!("engines-{files} leaves out {docker:?}: no engine answers at {host}"),
        }
    }
    rows
}

async fn on_one(docker: Docker, engine: Engine, files: usize, rounds: usize, before: &str) -> Row {
    let now = binary().into_string().expect("a path in UTF-8");
    let mut worlds = Vec::new();
    for program in [now.as_str(), before] {
        worlds.push(World::start_at(engine.clone(), &[(BENCH_BINARY, program)]).await);
    }
    for world in &worlds {
        fill(world, files, Order::ChangedFirst);
    }
    let mut times = [Vec::new(), Vec::new()];
    // The first round warms up: layers, the mirror, the synced context. Each round begins with the other program.
    for round in 0..=rounds {
        for turn in 0..2 {
            let which = (round + turn) % 2;
            let took = push(&worlds[which], round).await;
            if round > 0 {
                times[which].push(took);
            }
        }
    }
    let [ours, theirs] = times.map(median);
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    Row {
        what: format!("push → manifest on {docker:?}, {files} files"),
        measured: format!("{} ({ratio:.3} × the older program's {})", ms(ours), ms(theirs)),
        target: "≤ 1.05 × the older program".into(),
        met: ratio <= 1.05,
    }
}

async fn push(world: &World, round: usize) -> Duration {
    // The text is unique, because the engine's cache may hold the layers of another run.
    let text = format!("{round} of {}\n", world.registry.address());
    let sha = world.repo.commit("develop", &[("round.txt", &text)]);
    let start = Instant::now();
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    poll("the manifest", async || world.registry.has_tag("totem/acme-hello", &sha).then_some(())).await;
    let took = start.elapsed();
    world.daemon.wait_success(&id).await;
    took
}
