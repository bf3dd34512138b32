//! Every command in the documents works, or says why nobody tries it.
//!
//! A block of commands (`sh`) is run here, line by line, against a daemon; `ID` and `COMMIT` stand for what exists there.
//! A comment on the line before it says otherwise: `<!-- not run: REASON -->`, or `<!-- run by: FILE::TEST -->` for a test
//! that gives the same words to the same program.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Document, documents};
use crate::harness::{Capture, DeployKey, KeyType, REGISTRY_PASSWORD, World, dockercfg, eventually, folder, unique};
use crate::tidy::read;

const BINARY: &str = env!("CARGO_BIN_EXE_image-factory");

/// A block of commands.
struct Block {
    /// `FILE:LINE`.
    place: String,
    /// The comment before it, without its marks.
    remark: Option<String>,
    /// The block's commands, each in one line.
    commands: Vec<String>,
}

fn blocks(document: &Document) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut lines = document.text.lines().enumerate();
    let mut before = "";
    while let Some((at, line)) = lines.next() {
        if line == "```sh" {
            let inside: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
            let remark = before.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->"));
            blocks.push(Block {
                place: format!("{}:{}", document.name(), at + 1),
                remark: remark.map(|remark| remark.trim().to_owned()),
                commands: inside.join("\n").replace("\\\n", " ").lines().map(str::to_owned).collect(),
            });
        }
        before = line;
    }
    blocks
}

fn all_blocks() -> Vec<Block> {
    documents().iter().flat_map(blocks).collect()
}

#[test]
fn a_block_that_is_not_run_here_says_why() {
    let mut wrong = Vec::new();
    for Block { place, remark, commands } in all_blocks() {
        let Some(remark) = remark else { continue };
        if let Some(reason) = remark.strip_prefix("not run: ") {
            if reason.split(' ').count() < 3 {
                wrong.push(format!("{place}: {reason:?} is no reason"));
            }
        } else if let Some((file, test)) = remark.strip_prefix("run by: ").and_then(|test| test.split_once("::")) {
            let source = read(file);
            if !source.contains(&format!("fn {test}(")) {
                wrong.push(format!("{place}: {file} has no test {test}"));
            }
            // The words that are not a program's, a path's or a pattern's.
            for command in &commands {
                let words = command.split(' ').skip(1).filter(|word| word.chars().all(|c| c.is_ascii_lowercase()));
                for word in words.filter(|word| !source.contains(word)) {
                    wrong.push(format!("{place}: {file} does not run {word:?} of {command:?}"));
                }
            }
        } else {
            wrong.push(format!("{place}: {remark:?} is neither `not run: ` nor `run by: `"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The repositories, files and settings that the documents speak of, and the head of `acme/hello`'s branch `main`.
async fn documented_world(hook: &Capture, home: &Path) -> (World, String) {
    let world = World::start_with(&[
        ("HOOK_POST_URL", &hook.url()),
        ("SYSLOG", "off"),
        ("IMAGES_ALLOWED", "generator=127.0.0.1:*/totem/*"),
        ("DIALECTS", "totem,conveyor,generator,compose-ci"),
        ("CI_TOKEN", "the-token-of-an-address"),
        ("GITHUB_REPO", "acme/hello"),
        ("HOOK", "true"),
    ])
    .await;
    let dockerfile = "FROM image-factory-busybox:1\nARG VERSION\nCOPY . /src\n";
    let staged = format!("FROM image-factory-busybox:1 AS prod\nRUN echo {}\nFROM prod\n", unique());
    let files = [("Dockerfile", dockerfile), ("web/Dockerfile", staged.as_str())];
    world.repo.commit("develop", &files);
    let head_of_main = world.repo.commit("main", &files);
    world.repo.commit("endless", &[("Dockerfile", "FROM image-factory-busybox:1\nRUN sleep 1000\n")]);
    let files = ["Dockerfile", "Dockerfile.web", "services/api/Dockerfile", "docker/web"];
    world.git.repo("acme", "mono").commit("develop", &files.map(|file| (file, dockerfile)));

    let write = |name: &str, content: &str| {
        let file = home.join(name);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, content).unwrap();
    };
    write("deploy_key", &world.key.private);
    write(".ssh/authorized_keys", &DeployKey::generate(KeyType::Ed25519, "").public);
    // Commands without a repository take it from here.
    write(".git/HEAD", "ref: refs/heads/main\n");
    write(
        ".git/config",
        "[core]\n\trepositoryformatversion = 0\n[remote \"origin\"]\n\turl = git@github.com:acme/hello.git\n",
    );
    std::fs::create_dir_all(home.join(".git/objects")).unwrap();
    std::fs::create_dir_all(home.join(".git/refs")).unwrap();
    write(".docker/config.json", &dockercfg(&world.registry.address(), "builder", REGISTRY_PASSWORD));
    (world, head_of_main)
}

#[tokio::test]
async fn every_command_of_the_documents_works() {
    let (home, hook) = (folder(), Capture::start(&[410; 500]));
    let (world, commit) = documented_world(&hook, home.path()).await;
    let daemon = &world.daemon;
    // `ID` stands for this job or delivery.
    let ended = daemon.push_event("acme/hello", "main", &commit).await;
    daemon.wait_success(&ended).await;
    let delivery = daemon.get("/deliveries").await[0]["id"].as_str().unwrap().to_owned();
    let dead = async || daemon.get("/notifications?state=dead").await[0]["id"].as_str().map(str::to_owned);
    let path = format!("{}:{}", Path::new(BINARY).parent().unwrap().display(), std::env::var("PATH").unwrap());

    let mut tried = 0;
    for block in all_blocks().into_iter().filter(|block| block.remark.is_none()) {
        for command in &block.commands {
            let id = match command.split(' ').nth(1) {
                Some("notifications") => eventually(Duration::from_secs(30), "one is dead", &dead).await,
                Some("deliveries") => delivery.clone(),
                Some("cancel") => daemon.submit(request("endless")).await,
                _ => ended.clone(),
            };
            let line = command.replace(" ID", &format!(" {id}")).replace("COMMIT", &commit);
            let mut shell = Command::new("sh");
            shell.args(["-euc", &line]).current_dir(home.path()).env_clear().envs(daemon.environment());
            let output = shell.env("PATH", &path).env("HOME", home.path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {line}: {}\n{said}", block.place, output.status);
            tried += 1;
        }
    }
    assert!(tried > 30, "only {tried} commands were found");
    // Those that were not followed have to go well, too.
    for job in daemon.get("/job?limit=1000").await.as_array().unwrap() {
        let job = daemon.wait(job["id"].as_str().unwrap()).await;
        let is_well = job["status"] == "success" || job["cancelled"] == true;
        assert!(is_well, "{job:#}\n{}", daemon.log(job["id"].as_str().unwrap()).await);
    }
}

fn request(branch: &str) -> Value {
    serde_json::json!({"owner": "acme", "repo": "hello", "branch": branch})
}
