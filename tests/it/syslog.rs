//! Log lines by syslog, to Debian's rsyslogd.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::{Daemon, Engine, Message, Rsyslog, Settings, World, eventually, folder, listen, masked, port};

const LIMIT: Duration = Duration::from_secs(20);

/// One that fails each job in its first stage, for which it needs nothing.
async fn daemon(syslog: &str) -> Daemon {
    let own = [
        ("SYSLOG", syslog),
        ("LOG_IDENTIFIER", "builder-7"),
        ("GIT_URL", "file:///nowhere/{owner}/{repo}.git"),
        ("DOCKER_HOST", &Engine::shared().host),
    ];
    Daemon::start(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await
}

async fn fail(daemon: &Daemon) -> String {
    let id = daemon.submit(json!({"owner": "acme", "repo": "hello"})).await;
    daemon.wait_failure(&id).await;
    id
}

async fn ended(rsyslog: &Rsyslog, id: &str) -> Message {
    eventually(LIMIT, "rsyslogd has the end of the job", async || {
        rsyslog.messages().into_iter().find(|m| m.text.starts_with("job ended") && m.text.contains(id))
    })
    .await
}

/// Each line on standard error is an object, also one about a start that fails.
#[tokio::test]
async fn lines_are_json_where_the_operator_wants_it() {
    let read = |text: &str| -> Vec<Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    };
    let own = [
        ("LOG_FORMAT", "json"),
        ("GIT_URL", "file:///nowhere/{owner}/{repo}.git"),
        ("DOCKER_HOST", &Engine::shared().host),
    ];
    let daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await;
    let id = fail(&daemon).await;
    let end = async || {
        read(&daemon.output()).into_iter().find(|line| line["message"] == "job ended" && line["job"] == id.as_str())
    };
    let end = eventually(LIMIT, "the end of the job is logged", end).await;
    assert_eq!((&end["level"], &end["repo"], &end["attempt"]), (&json!("info"), &json!("acme/hello"), &json!(1)));
    assert!(end["time"].as_str().unwrap().ends_with('Z') && end["status"] == "failure", "{end}");

    let second = String::from_utf8(daemon.second().stderr).unwrap();
    let last = read(&second).pop().unwrap();
    assert_eq!(last["level"], "error", "{second}");
    let pid = format!("process {}", daemon.pid());
    insta::assert_snapshot!(masked(last["message"].as_str().unwrap(), &[(&pid, "daemon")]), @"the data folder [folder]/data is in use by the [daemon]: stop that one, or set another DATA_DIR");
}

#[tokio::test]
async fn lines_are_understood_and_a_restart_is_survived() {
    let mut rsyslog = Rsyslog::start().await;
    let (address, socket) = (rsyslog.address(), rsyslog.socket());
    for (place, input) in [
        (format!("udp://{address}"), "imudp"),
        (format!("tcp://{address}"), "imtcp"),
        (format!("unix://{}", socket.display()), "imuxsock"),
    ] {
        let mut daemon = daemon(&place).await;
        let said = eventually(LIMIT, "the first line is there", async || {
            let first = format!("listens on {}", daemon.url());
            rsyslog.messages().into_iter().find(|m| m.text.contains(&first))
        })
        .await;
        let (own, pid) = (str::to_owned, daemon.pid().to_string());
        let [app, severity, facility] = ["builder-7", "info", "daemon"].map(own);
        let expected = Message { input: own(input), app, process: pid, severity, facility, ..said.clone() };
        assert_eq!(said, expected);

        let id = fail(&daemon).await;
        let end = ended(&rsyslog, &id).await;
        assert!(end.text.contains("status=failure") && end.text.contains("repo=acme/hello"), "{place}: {end:?}");
        if input != "imuxsock" {
            let data = format!("[image-factory@32473 job=\"{id}\" repo=\"acme/hello\" attempt=\"1\"]");
            assert_eq!(end.data, data);
            let stage =
                rsyslog.messages().into_iter().find(|m| m.text.starts_with("stage ended") && m.data.contains(&id));
            assert!(stage.is_some_and(|m| m.data.contains("stage=\"clone\"")));
        }

        rsyslog.stop().await;
        let lost = fail(&daemon).await;
        rsyslog.restart().await;
        if input == "imudp" {
            // Nobody says that a datagram was lost; what comes later arrives.
            until_lines_come(&daemon, &rsyslog).await;
        } else {
            ended(&rsyslog, &lost).await;
            let receiver = place.replace("unix://", "");
            let again = rsyslog.wait(&format!("syslog: {receiver} is reached again")).await;
            insta::allow_duplicates! {
                insta::assert_snapshot!(masked(&again.text, &[(&receiver, "receiver")]), @"syslog: [receiver] is reached again dropped=0");
            }
        }
        // The last lines are sent before it ends.
        daemon.term(LIMIT).await;
        let pid = daemon.pid().to_string();
        let last = async || rsyslog.messages().into_iter().any(|m| m.process == pid && m.text.contains("stopping"));
        eventually(LIMIT, "the farewell is there", async || last().await.then_some(())).await;
    }
}

/// Each field once, on standard error too: those of the job are its span's.
#[tokio::test]
async fn lines_have_the_job_they_belong_to() {
    let daemon = daemon("off").await;
    let id = fail(&daemon).await;
    let said = daemon.output();
    let of_job: Vec<_> = said.lines().filter(|line| line.contains(&format!("job{{id={id}"))).collect();
    for words in ["job runs", "stage ended", "job ended"] {
        let line = of_job.iter().find(|line| line.contains(words)).unwrap_or_else(|| panic!("no {words} in {said}"));
        assert!(line.contains(&format!("job{{id={id} repo=\"acme/hello\" attempt=1}}")), "{line}");
    }
    assert!(said.contains("stage{name=\"clone\"}"), "{said}");
    for line in of_job {
        for field in [&id, "repo=", "attempt="] {
            assert_eq!(line.matches(field).count(), 1, "{field} in {line}");
        }
    }
}

/// Lines about a job that fails, again and again, until they are at this receiver.
async fn until_lines_come(daemon: &Daemon, rsyslog: &Rsyslog) {
    eventually(LIMIT, "lines arrive", async || {
        let id = fail(daemon).await;
        rsyslog.messages().iter().any(|m| m.text.contains(&id)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_host_in_etcd_is_followed() {
    let [first, second] = [Rsyslog::start().await, Rsyslog::start().await];
    let world = World::start().await;
    for rsyslog in [&first, &second] {
        world.etcd.put("/totem/syslog/host", rsyslog.address()).await;
        until_lines_come(&world.daemon, rsyslog).await;
    }
    world.etcd.delete("/totem/syslog/host").await;
    let told = async || world.daemon.output().contains("syslog/host: deleted").then_some(());
    eventually(LIMIT, "the daemon has seen it", told).await;
    let id = fail(&world.daemon).await;
    // Lines are sent in their order: once the next ones arrive, these have not.
    world.etcd.put("/totem/syslog/host", first.address()).await;
    until_lines_come(&world.daemon, &first).await;
    for rsyslog in [&first, &second] {
        assert!(!rsyslog.messages().iter().any(|m| m.text.contains(&id)), "{:?}", rsyslog.messages());
    }
}

/// Though it is not known from the first line on where to: the lines wait.
#[tokio::test]
async fn the_host_in_a_folder_gets_the_first_line() {
    let (rsyslog, secrets) = (Rsyslog::start().await, folder());
    std::fs::create_dir(secrets.path().join("syslog")).unwrap();
    std::fs::write(secrets.path().join("syslog/host"), rsyslog.address()).unwrap();
    let own = [("SECRETS_DIR", secrets.path().to_str().unwrap()), ("CONCURRENCY", "0")];
    let daemon = Daemon::start(own.map(|(name, value)| (name.to_owned(), value.to_owned())).into()).await;
    let said = rsyslog.wait(&format!("listens on {}", daemon.url())).await;
    assert_eq!((said.app.as_str(), said.input.as_str()), ("image-factory", "imudp"));
}

/// A receiver that is away and one that takes nothing hold no job up; the log says so once.
#[tokio::test]
async fn a_receiver_that_is_away_costs_nothing() {
    let full = listen();
    let closed = format!("127.0.0.1:{}", port());
    let dir = folder();
    for place in [
        format!("tcp://{}", full.local_addr().unwrap()),
        format!("tcp://{closed}"),
        format!("unix://{}", dir.path().join("none").display()),
    ] {
        let daemon = daemon(&place).await;
        for _ in 0..3 {
            fail(&daemon).await;
        }
        let told = daemon.output().matches("cannot be reached").count();
        assert!(told <= 1, "{}", daemon.output());
        assert!(told == 1 || place.contains(&full.local_addr().unwrap().to_string()), "{place}");
    }
    let wrong = Settings::from([("LOG_IDENTIFIER".into(), "two words".into())]);
    let said = String::from_utf8(Daemon::fail(&wrong, &[]).stderr).unwrap();
    insta::assert_snapshot!(said, @r#"image-factory: LOG_IDENTIFIER="two words" is not valid: use at most 48 letters, digits and signs, without spaces, colons and brackets (in the environment)"#);
}
