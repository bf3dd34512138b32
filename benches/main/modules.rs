//! The time that submodules and LFS files add to push → manifest: the same 300 files, in one repository, and with three
//! submodules (by ssh) and three LFS files of 100 KB in another.

use std::path::Path;
use std::time::{Duration, Instant};

use super::harness::{LfsServer, Repo, World};
use super::{Row, median, ms, poll, push::stage};

const FILES: usize = 300;

pub async fn measure(rounds: usize) -> Vec<Row> {
    let world = World::start().await;
    let server = LfsServer::start(None, Path::new("/nonexistent"));
    let whole = world.git.repo("acme", "whole");
    world.git.lfs_authenticate(&format!("echo '{{\"href\": \"{}\"}}'", server.endpoint("acme", "whole")));
    let mut gitmodules = String::new();
    for name in ["one", "two", "three"] {
        let commit = world.git.repo("acme", name).commit("main", &[("a", name), ("b/c", name)]);
        whole.gitlink(name, &commit);
        gitmodules += &format!("[submodule \"{name}\"]\n\tpath = {name}\n\turl = ../{name}.git\n");
    }
    let pointers = [1u8, 2, 3].map(|n| server.put(&[n].repeat(100_000)));
    let [one, two, three] = &pointers;
    let attributes = "*.bin filter=lfs\n";
    let more = [
        (".gitmodules", &*gitmodules),
        (".gitattributes", attributes),
        ("1.bin", one),
        ("2.bin", two),
        ("3.bin", three),
    ];
    fill(&world.repo, &[]);
    fill(&whole, &more);

    let run = world.registry.direct_address();
    let (mut alone, mut all, mut first) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let content = format!("{round} of {run}\n");
        let took = [push(&world, "hello", &world.repo, &content).await, push(&world, "whole", &whole, &content).await];
        match round {
            0 => first.extend(took),
            _ => (alone.push(took[0]), all.push(took[1])).1,
        }
    }
    let of = |rounds: &[Took], part: fn(&Took) -> Duration| median(rounds.iter().map(part).collect());
    let row = |what: &str, all: &[Took], alone: &[Took], limit: u64| {
        let [all_whole, alone_whole] = [all, alone].map(|rounds| of(rounds, |took| took.whole));
        let [all_part, alone_part] = [all, alone].map(|rounds| of(rounds, |took| took.checkout));
        Row {
            what: format!("push → manifest, {FILES} files, 3 submodules and 3 LFS files {what}"),
            measured: format!(
                "{} ({} without them); of it checkout {} ({})",
                ms(all_whole),
                ms(alone_whole),
                ms(all_part),
                ms(alone_part)
            ),
            target: format!("checkout ≤ {limit} ms more"),
            met: all_part <= alone_part + Duration::from_millis(limit),
        }
    };
    vec![
        row("that are here already", &all, &alone, 50),
        row("that are fetched for the first time", &first[1..], &first[..1], 1500),
    ]
}

#[derive(Clone, Copy)]
struct Took {
    whole: Duration,
    checkout: Duration,
}

fn fill(repo: &Repo, more: &[(&str, &str)]) {
    for index in 0..FILES {
        let path = repo.path(&format!("src/{}/{index}", index / 100));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, format!("{index}\n").repeat(700)).unwrap();
    }
    for (path, content) in more {
        std::fs::write(repo.path(path), content).unwrap();
    }
    repo.commit("develop", &[("Dockerfile", "FROM image-factory-busybox:1\nCOPY . /app\n")]);
}

async fn push(world: &World, name: &str, repo: &Repo, content: &str) -> Took {
    let sha = repo.commit("develop", &[("round.txt", content)]);
    let start = Instant::now();
    let id = world.daemon.push_event(&format!("acme/{name}"), "develop", &sha).await;
    let image = format!("totem/acme-{name}");
    poll("the manifest", async || world.registry.has_tag(&image, &sha).then_some(())).await;
    let whole = start.elapsed();
    let job = world.daemon.wait_success(&id).await;
    Took { whole, checkout: stage(&job, "checkout") }
}
