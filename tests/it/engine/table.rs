//! The table in docs/engines.md of what works on which engine. The test of each engine tries its column: it compares the
//! column with the page, or writes it with UPDATE_DOCS=1. An engine of another version than the page has is a notice.

use serde_json::{Value, json};

use super::*;
use crate::harness::{World, processes_of};

on_each_engine!(what_works_is_documented);

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/engines.md");
/// Beginning of the table's first line.
const HEAD: &str = "| what works ";
const BASE: &str = "FROM image-factory-busybox:1\n";

/// A column: the engine with its version, and the answer to each question.
struct Column {
    engine: String,
    cells: Vec<(&'static str, String)>,
}

async fn what_works_is_documented(docker: Docker) {
    let column = Column::try_on(docker).await;
    let _lock = {
        let lock = fs::File::create("/tmp/image-factory-test-engines-table.lock").unwrap();
        lock.lock().unwrap();
        lock
    };
    let page = fs::read_to_string(PAGE).unwrap();
    let index = 1 + Docker::ALL.iter().position(|one| *one == docker).unwrap();
    let table = read_table(&page);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(PAGE, page.replace(&show(&table), &show(&column.put(table, index)))).unwrap();
        return;
    }
    let documented = &table[0][index];
    if *documented != column.engine {
        eprintln!(
            "notice: docs/engines.md has {documented}, and this is {}: its column is not compared",
            column.engine
        );
        return;
    }
    for ((question, answer), row) in column.cells.iter().zip(&table[1..]) {
        assert_eq!((&row[0][..], &row[index]), (*question, answer), "{}: run it with UPDATE_DOCS=1", column.engine);
    }
    assert_eq!(column.cells.len() + 1, table.len());
}

#[test]
fn the_table_has_every_engine_with_its_version() {
    let table = read_table(&fs::read_to_string(PAGE).unwrap());
    for row in &table {
        assert_eq!(row.len(), 1 + Docker::ALL.len(), "{row:?}");
        assert!(row[1..].iter().all(|cell| !cell.is_empty()), "{row:?}");
    }
    let has_version = |cell: &String| cell.split([' ', ',']).any(|word| word.split('.').count() == 3);
    assert!(table[0][1..].iter().all(has_version), "{:?}", table[0]);
}

/// Returns the rows of the table without the line below its head.
fn read_table(page: &str) -> Vec<Vec<String>> {
    let lines = page.lines().skip_while(|line| !line.starts_with(HEAD)).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.enumerate().filter(|(number, _)| *number != 1).map(|(_, line)| cells(line)).collect()
}

fn show(table: &[Vec<String>]) -> String {
    let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
    let below = format!("|{}\n", "---|".repeat(1 + Docker::ALL.len()));
    format!("{}{below}{}", line(&table[0]), table[1..].iter().map(line).collect::<String>())
}

impl Column {
    /// Puts the column into the table, whose other columns stay.
    fn put(self, table: Vec<Vec<String>>, index: usize) -> Vec<Vec<String>> {
        let head = ("what works", self.engine);
        let known = |question: &str| table.iter().find(|row| row[0] == question).cloned();
        let row = |(question, answer): (&'static str, String)| {
            let mut row = known(question).unwrap_or_else(|| vec![String::new(); 1 + Docker::ALL.len()]);
            (row[0], row[index]) = (question.into(), answer);
            row
        };
        std::iter::once(head).chain(self.cells).map(row).collect()
    }

    async fn try_on(docker: Docker) -> Self {
        let engine = harness::Engine::of(docker);
        let version = engine.docker(&["version", "--format", "{{.Server.Version}}"]);
        let version = version.split('+').next().unwrap();
        let engine_name = match docker {
            Docker::Containerd => format!("Docker {version}, containerd's image store"),
            Docker::MinApi => format!("Docker {version}, API 1.44 or newer"),
            Docker::Podman | Docker::PodmanNext => format!("Podman {version}"),
            _ => format!("Docker {version}"),
        };
        let mut world = World::start_at(engine, &[]).await;
        let builder = world.daemon.get("/engines").await[0]["builder"].as_str().unwrap().to_owned();
        let mut cells = vec![("builder", if docker.has(Feature::Buildkit) { builder } else { "its own".into() })];

        // The first build has all files, the second one file that has changed.
        let files: Vec<_> = (0..40).map(|number| (format!("src/{number}"), "x".repeat(100))).collect();
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        world.repo.commit("develop", &files);
        build(&world, &format!("{BASE}COPY src /src\n")).await;
        world.repo.commit("develop", &[("src/1", "changed")]);
        let job = build(&world, &format!("{BASE}COPY src /src\n")).await;
        let log = world.daemon.log(job["id"].as_str().unwrap()).await;
        let is_little = log.contains("Sent what changed: 1 files") || log.contains("Sent what changed: 2 files");
        cells.push((
            "what is sent if one of many files has changed",
            if is_little { "that file" } else { "all" }.into(),
        ));
        let tag = job["tags"][0]["name"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        cells.push((
            "the job's digest is the registry's",
            yes(job["digest"].as_str() == world.digest(&tag).await.as_deref()),
        ));
        cells.push(("manifest of an image", manifest(&world, &tag).await));

        for (question, dockerfile) in [
            ("here-document without `# syntax=`", "RUN <<EOF\ntrue\nEOF\nRUN test -e /bin\n"),
            ("`COPY --link` without `# syntax=`", "COPY --link src /src\n"),
            ("`COPY --parents` without `# syntax=`", "COPY --parents src/1 /\n"),
            ("`RUN --mount=type=cache`", "RUN --mount=type=cache,target=/c touch /c/1\n"),
        ] {
            let job = build(&world, &format!("{BASE}{dockerfile}")).await;
            cells.push((question, yes(job["status"] == "success")));
        }
        let job = build(&world, &format!("# check=error=true\n{BASE}run true\nRUN true\n")).await;
        cells.push(("`# check=error=true` refuses a Dockerfile", yes(job["status"] == "failure")));
        let job = build(&world, &format!("{BASE}RUN exit 7\n")).await;
        cells.push(("exit code of a failed step", yes(job["cause"].as_str().unwrap().contains("exit code 7"))));

        let mark = harness::unique();
        let dockerfile = format!("{BASE}RUN echo it ha''ngs; sleep 1000; echo {mark}\n");
        world.repo.commit("develop", &[("Dockerfile", &dockerfile)]);
        let id = world.daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
        world.daemon.wait_log(&id, "it hangs").await;
        world.daemon.request(reqwest::Method::POST, &format!("/job/{id}/cancel")).send().await.unwrap();
        until("the step ends", || processes_of(&mark).is_empty()).await;
        let ends = if docker.has(Feature::EndsSteps) { "by the engine" } else { "by the daemon, on its machine" };
        cells.push(("a step ends with its job", ends.into()));

        world.daemon.set("BUILDER", "classic");
        world.daemon.term(Duration::from_secs(20)).await;
        world.daemon.restart().await;
        let job = build(&world, &format!("{BASE}COPY src /src\n")).await;
        let tag = job["tags"][0]["name"].as_str().unwrap().rsplit_once(':').unwrap().1.to_owned();
        cells.push(("manifest of an image with `BUILDER=classic`", manifest(&world, &tag).await));
        Self { engine: engine_name, cells }
    }
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.into()
}

/// Builds this Dockerfile, and returns the job when it has ended.
async fn build(world: &World, dockerfile: &str) -> Value {
    let sha = world.repo.commit("develop", &[("Dockerfile", dockerfile), ("n", &harness::unique())]);
    let id = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait(&id).await
}

async fn manifest(world: &World, tag: &str) -> String {
    let (_, manifest) = world.registry.manifest("totem/acme-hello", tag).await.unwrap();
    if manifest["mediaType"].as_str().unwrap().contains("docker") { "Docker's" } else { "OCI's" }.into()
}
