//! The container: from its start to `/ready`, and from a push to the image, with the host's engine and with one inside.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime};

use image_factory::model::Millis;
use serde_json::Value;

use super::harness::container::{Factory, Made, image, load_base, privileged, run_container, with_socket};
use super::harness::{Docker, Engine, World, folder, unique};
use super::{Row, median, ms, poll};

const STARTS: usize = 7;
const PUSHES: usize = 7;
/// Files of the commit that is pushed.
const FILES: usize = 20;

/// Measures the starts, from the engine's own time of the start.
pub async fn starts() -> Vec<Row> {
    let engine = Engine::shared();
    let (plain, inner) = (image(&engine, "prebuilt"), image(&engine, "prebuilt-with-engine"));
    let ways = [
        ("the host's socket", with_socket(&engine, &plain), 300),
        ("an engine inside", privileged(Docker::V20, &inner), 3000),
    ];
    let mut rows = Vec::new();
    for (way, last, most) in ways {
        let (volume, mut times) = (Made::volume(&engine), Vec::new());
        let data = engine.docker(&["volume", "inspect", "--format", "{{.Mountpoint}}", &volume.name]);
        for _ in 0..STARTS {
            let mount = format!("--volume={}:/var/lib/image-factory", volume.name);
            let given: Vec<_> = ["--network=none".into(), mount].into_iter().chain(last.clone()).collect();
            let container = run_container(&engine, &given);
            let socket = Path::new(&data).join("socket");
            poll("the daemon is ready", async || is_ready(&socket).then_some(())).await;
            let end = SystemTime::now();
            let start = container.inspect("{{.State.StartedAt}}").parse::<Millis>().unwrap();
            let start = SystemTime::UNIX_EPOCH + Duration::from_millis(start.0 as u64);
            times.push(end.duration_since(start).unwrap());
            engine.docker(&["stop", "--time", "30", &container.name]);
        }
        let time = median(times);
        rows.push(Row {
            what: format!("container start → /ready, {way}"),
            measured: ms(time),
            target: format!("< {most} ms"),
            met: time < Duration::from_millis(most),
        });
    }
    rows
}

/// Measures pushes, by the daemon's own times of a job.
pub async fn pushes() -> Vec<Row> {
    let world = World::start().await;
    let engine = &world.engine;
    let (plain, inner) = (image(engine, "prebuilt"), image(engine, "prebuilt-with-engine"));
    let contents: Vec<_> = (0..FILES).map(|n| (format!("src/{n}"), "x".repeat(4000))).collect();
    let contents: Vec<_> = contents.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    world.repo.commit("develop", &contents);
    let volumes = [Made::volume(engine), Made::volume(engine)];
    let last = [with_socket(engine, &plain), privileged(Docker::V20, &inner)];
    let factories = volumes.iter().zip(last).map(|(volume, last)| Factory::new(&world, volume, &[], last));
    let factories: Vec<_> = factories.collect();
    let containers = [factories[0].start(world.git.port()).await, factories[1].start(world.git.port()).await];
    load_base(engine, &containers[1]);
    let mut times = [Vec::new(), Vec::new()];
    // The two take turns, because a machine is not equally busy all the time. The first push of each is not counted.
    for run in 0..=PUSHES {
        let dockerfile = format!("FROM image-factory-busybox:1\nCOPY src /src\nRUN echo {} >/made\n", unique());
        world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        for (container, times) in containers.iter().zip(&mut times) {
            container.done(&["image-factory", "build", "acme/hello", "--follow"]);
            let jobs = container.done(&["image-factory", "jobs", "--json", "--limit", "1"]);
            let job = serde_json::from_str::<Value>(&jobs).unwrap()[0].clone();
            let [start, end] =
                ["createTime", "endTime"].map(|name| job[name].as_str().unwrap().parse::<Millis>().unwrap());
            if run > 0 {
                times.push(Duration::from_millis((end.0 - start.0) as u64));
            }
        }
    }
    let [hosts, inside] = times.map(median);
    let ratio = inside.as_secs_f64() / hosts.as_secs_f64();
    vec![Row {
        what: "push → image, engine inside".into(),
        measured: format!("{} ({ratio:.2} × the host's engine, {})", ms(inside), ms(hosts)),
        target: "≤ 1.3 × the host's engine".into(),
        met: ratio <= 1.3,
    }]
}

/// Asks the daemon at its socket whether it is ready for jobs, too, which needs the engine.
fn is_ready(socket: &Path) -> bool {
    let ask = || {
        let mut stream = UnixStream::connect(socket)?;
        stream.write_all(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer.contains(r#""status":"ready""#))
    };
    ask().unwrap_or(false)
}
