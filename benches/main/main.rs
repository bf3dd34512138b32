//! The times that a user waits, measured on real parts over loopback: `make bench`. Prints a table with
//! each target. `cargo bench --bench main -- push-300` runs one; the names are in `MEASUREMENTS`.
#![allow(clippy::disallowed_methods, dead_code, unused_imports, reason = "uses a part of the tests' harness")]

mod container;
mod engines;
mod followers;
mod git;
#[path = "../../tests/it/harness/mod.rs"]
mod harness;
mod hooks;
mod hostile;
mod idle;
mod ignore;
mod modules;
mod outcome;
mod push;
mod queue;
mod redact;
mod refs;
mod scrape;
mod sight;
mod test_stage;

use std::time::Duration;

/// One line of the table.
struct Row {
    what: String,
    measured: String,
    target: String,
    met: bool,
}

const MEASUREMENTS: [&str; 24] = [
    "push-300",
    "push-20000",
    "push-20000-cached",
    "modules",
    "git-500m",
    "context-100k",
    "ignore-3000",
    "refs-60000",
    "redact",
    "sight",
    "hooks",
    "followers",
    "outcome",
    "queue-10000",
    "jobs-1000000",
    "scrape",
    "test-stage",
    "hostile",
    "trees",
    "container-start",
    "container-push",
    "engines-300",
    "engines-20000",
    "idle",
];

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = wanted.iter().find(|name| !MEASUREMENTS.contains(&name.as_str())) {
        eprintln!("{unknown} is no measurement; there are {}", MEASUREMENTS.join(", "));
        std::process::exit(2);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut rows = Vec::new();
    for name in MEASUREMENTS.into_iter().filter(|name| wanted.is_empty() || wanted.iter().any(|w| w == name)) {
        eprintln!("measuring {name} …");
        rows.extend(runtime.block_on(async {
            match name {
                "push-300" => push::measure(300, push::Order::ChangedFirst, 5, 0.5).await,
                "push-20000" => push::measure(20_000, push::Order::ChangedFirst, 3, 0.3).await,
                "push-20000-cached" => push::measure(20_000, push::Order::ChangedLast, 3, 0.05).await,
                "modules" => modules::measure(7).await,
                "git-500m" => git::big().await,
                "context-100k" => git::context().await,
                "ignore-3000" => ignore::measure().await,
                "refs-60000" => refs::measure().await,
                "redact" => redact::measure(),
                "sight" => sight::measure().await,
                "hooks" => hooks::measure().await,
                "followers" => followers::measure().await,
                "outcome" => outcome::measure().await,
                "queue-10000" => queue::waiting().await,
                "jobs-1000000" => queue::finished().await,
                "scrape" => scrape::measure().await,
                "test-stage" => test_stage::measure().await,
                "hostile" => hostile::measure().await,
                "trees" => hostile::trees().await,
                "container-start" => container::starts().await,
                "container-push" => container::pushes().await,
                "engines-300" => engines::measure(300, 9).await,
                "engines-20000" => engines::measure(20_000, 5).await,
                _ => idle::measure().await,
            }
        }));
    }
    println!("\n| what | measured | target | met |\n|---|---|---|---|");
    for Row { what, measured, target, met } in rows {
        println!("| {what} | {measured} | {target} | {} |", if met { "yes" } else { "NO" });
    }
}

fn median(mut values: Vec<Duration>) -> Duration {
    values.sort_unstable();
    values[values.len() / 2]
}

fn ms(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// Asks every 2 ms, for times that the harness's 20 ms would blur.
async fn poll<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    let end = tokio::time::Instant::now() + Duration::from_secs(180);
    while tokio::time::Instant::now() < end {
        tick.tick().await;
        if let Some(value) = condition().await {
            return value;
        }
    }
    panic!("not within 180 s: {what}")
}
