//! Engines that an operator takes out of service, and their slots.

use crate::harness::{Left, folder, note};

use super::*;

/// A world on both of the machine's engines, of one slot each.
async fn two_engines() -> (World, [Engine; 2]) {
    let engines = [Engine::of(Docker::V20), Engine::of(Docker::V26)];
    let hosts = engines.each_ref().map(|engine| format!("{};slots=1", engine.host)).join(",");
    let world = World::start_at(engines[0].clone(), &[("DOCKER_HOSTS", &hosts)]).await;
    let images = format!("reference={}/*/*", world.registry.address());
    note(world.git.known_hosts().parent().unwrap(), &engines[1], Left::Images(&images));
    (world, engines)
}

fn commit(world: &World, step: &str) -> String {
    world.repo.commit("develop", &[("Dockerfile", &format!("FROM image-factory-busybox:1\nRUN {step}\n"))])
}

/// Runs the command line with the daemon's address and token. Returns its exit code and what it printed.
fn run(world: &World, args: &[&str]) -> (Option<i32>, String) {
    let output = world.daemon.cli(args).run();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// Waits until the job has an engine, and returns the engine.
async fn engine_of(world: &World, id: &str) -> Value {
    eventually(LIMIT * 3, "the job has an engine", async || {
        let engines = world.daemon.get("/engines").await;
        let has_job = |engine: &&Value| engine["jobs"].as_array().unwrap().iter().any(|job| job["id"] == id);
        engines.as_array().unwrap().iter().find(has_job).cloned()
    })
    .await
}

#[tokio::test]
async fn an_engine_is_drained_and_its_job_runs_elsewhere() {
    let (mut world, engines) = two_engines().await;
    let listed = run(&world, &["engines"]).1;
    assert!(engines.iter().all(|engine| listed.contains(&engine.host)) && listed.contains("0/1"), "{listed}");
    let sha = commit(&world, &format!("echo it ha''ngs {}; sleep 1000", unique()));
    let hanging = world.daemon.push_event("acme/hello", "develop", &sha).await;
    world.daemon.wait_log(&hanging, "it hangs").await;
    let first = engine_of(&world, &hanging).await;
    assert_eq!((&first["usedSlots"], &first["jobs"][0]["stage"]), (&json!(1), &json!("build")));
    let name = first["name"].as_str().unwrap();

    let (code, said) = run(&world, &["engines", "drain", name, "--wait", "--limit", "0"]);
    assert!(code == Some(1) && said.contains(&format!("   {hanging}  acme/hello  develop  build")), "{said}");
    assert_eq!(world.daemon.job(&hanging).await["status"], "running");
    let (code, said) = run(&world, &["engines", "drain", name, "--wait", "--now"]);
    assert!(code == Some(0) && said.contains("takes no new jobs, and has none\n"), "{said}");
    let second = engine_of(&world, &hanging).await;
    assert_ne!(second["name"], first["name"]);
    let job = world.daemon.job(&hanging).await;
    assert_eq!((&job["attempt"], &job["class"]), (&json!(2), &Value::Null));
    assert!(world.daemon.log(&hanging).await.contains("[stopped here: its engine is drained"));

    // The other engine has one slot, and it is taken.
    let sha = commit(&world, &format!("echo {}", unique()));
    let waiting = world.daemon.push_event("acme/hello", "develop", &sha).await;
    let reason = world.daemon.job(&waiting).await["waitingFor"]["reason"].to_string();
    assert!(reason.contains("(the engines have 1 slot)"), "{reason}");
    let (_, said) = run(&world, &["engines", "cordon", second["name"].as_str().unwrap()]);
    assert!(said.ends_with("takes no new jobs; 1 job still has it\n"), "{said}");
    let cordoned = async || (reasons(&world).await.matches("is cordoned since").count() == 2).then_some(());
    eventually(LIMIT, "/ready names both", cordoned).await;
    world.daemon.request(reqwest::Method::POST, &format!("/job/{hanging}/cancel")).send().await.unwrap();
    let waits = |job: &Value| job["waitingFor"]["kind"] == "engine";
    world.daemon.wait_for(&waiting, LIMIT, waits).await;

    // The cordons survive the daemon.
    world.daemon.kill9();
    world.daemon.restart().await;
    world.daemon.wait_for(&waiting, LIMIT, waits).await;
    let metrics = world.daemon.request(reqwest::Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert_eq!(metrics.matches("image_factory_engine_cordoned{").count(), 2, "{metrics}");
    assert!(!metrics.contains("docker.sock\"} 0\nimage_factory_engine_cordoned"), "{metrics}");
    assert!(run(&world, &["engines"]).1.contains("well, cordoned"));
    let (code, said) = run(&world, &["engines", "uncordon", "9"]);
    assert!(code == Some(5) && said.contains("there are: unix:///"), "{said}");
    let (_, said) = run(&world, &["engines", "uncordon", "2"]);
    assert!(said.ends_with("takes jobs\n"), "{said}");
    world.daemon.wait_success(&waiting).await;
}

/// A job that has no engine yet when all are cordoned goes back into the queue, and nothing counts against it.
#[tokio::test]
async fn a_job_that_finds_all_engines_cordoned_waits_in_the_queue() {
    let mut world = World::start().await;
    commit(&world, &format!("echo {}", unique()));
    let gate = world.gate_git().await;
    gate.set(Flow::Stall { after: 0 });
    let id = submit(&world).await;
    world.daemon.wait_stage(&id, "clone").await;
    assert_eq!(run(&world, &["engines", "cordon", "1"]).0, Some(0));
    gate.set(Flow::Pass);
    let job = world.daemon.wait_for(&id, LIMIT * 3, |job| job["status"] == "pending").await;
    assert_eq!((&job["class"], &job["waitingFor"]["kind"]), (&Value::Null, &json!("engine")), "{job}");
    assert_eq!(run(&world, &["engines", "uncordon", "1"]).0, Some(0));
    assert_eq!(world.daemon.wait_success(&id).await["attempt"], 2);
}

#[test]
fn slots_that_cannot_be_used_stop_the_start() {
    for (hosts, words) in [
        ("unix:///a.sock;slots=0", "write a number from 1 to 1000 behind the address, as in ;slots=4"),
        ("unix:///a.sock;cpus=4", "write a number from 1 to 1000 behind the address, as in ;slots=4"),
        ("unix:///a.sock;slots=1, unix:///b.sock", "give each engine its ;slots=N, or none"),
        ("unix:///a.sock;slots=1,unix:///a.sock;slots=2", "DOCKER_HOSTS has \"unix:///a.sock\" twice"),
    ] {
        let settings = [("DOCKER_HOSTS".to_owned(), hosts.to_owned())].into();
        let output = crate::harness::Daemon::fail(&settings, &["--check"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
}

/// The pool.json of generator, whose engines it reached by plain TCP.
#[tokio::test]
async fn the_engines_of_a_pool_file_are_used() {
    let engine = Engine::of(Docker::V26);
    let socket = engine.host.strip_prefix("unix://").unwrap().to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut engine = tokio::net::UnixStream::connect(socket).await?;
                tokio::io::copy_bidirectional(&mut client, &mut engine).await
            });
        }
    });
    let dir = folder();
    let file = dir.path().join("pool.json");
    let write = |host: &str| {
        let pool = json!({"docker": [{"url": host, "port": port.to_string()}]});
        std::fs::write(&file, pool.to_string()).unwrap();
    };
    write("127.0.0.1");
    let world = World::start_at(engine, &[("POOL_FILE", file.to_str().unwrap())]).await;
    commit(&world, &format!("echo {}", unique()));
    world.daemon.wait_success(&submit(&world).await).await;
    assert_eq!(world.daemon.get("/engines").await[0]["name"], format!("tcp://127.0.0.1:{port}"));

    // Plain TCP to another machine gives root there to everyone.
    write("10.0.0.1");
    let settings = [("POOL_FILE".to_owned(), file.to_str().unwrap().to_owned())].into();
    let output = crate::harness::Daemon::fail(&settings, &["--check"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("or write ssh://user@host"), "{said}");
}
