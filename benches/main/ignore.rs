//! A context of 100,000 files, of which 3,000 lines of `.dockerignore` leave out all but a few.

use std::fmt::Write as _;
use std::time::Duration;

use super::git::{Import, ended, fill};
use super::harness::World;
use super::push::stage;
use super::{Row, median, ms};

pub async fn measure() -> Vec<Row> {
    let world = World::start().await;
    fill(&world.repo.bare);
    let mut lines = String::new();
    for n in 0..1000 {
        let _ = writeln!(lines, "**/cache-{n}\n**/part{n}_*.tmp\nsrc/{:02}/{n}-*/**/*.log", n % 50);
    }
    // The exception has a wildcard, so no folder is skipped as a whole.
    lines += "src/*/*/*\n!**/round*.txt\n";
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..4 {
        for (times, ignored) in [(&mut without, "src\n"), (&mut with, lines.as_str())] {
            let mut import = Import::start(&world.repo.bare);
            import.next();
            import.file("round.txt", format!("{round}").as_bytes());
            import.file("Dockerfile", b"FROM image-factory-busybox:1\nCOPY . /app/\n");
            import.file(".dockerignore", ignored.as_bytes());
            import.finish();
            let sha = world.repo.git(&["ls-remote", "origin", "refs/heads/develop"])[..40].to_owned();
            let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
            let job = ended(&world, &id).await;
            if round > 0 {
                times.push(stage(&job, "build"));
            }
        }
    }
    let [with, without] = [with, without].map(median);
    vec![Row {
        what: "100,000 files and 3,000 lines of .dockerignore: build".into(),
        measured: format!("{} ({} with one line)", ms(with), ms(without)),
        target: "< 1 s more".into(),
        met: with < without + Duration::from_secs(1),
    }]
}
