//! Trees made at random, each built again and again as it changes.

use super::*;
use crate::harness::{RandomTree, import};

on_each_engine!(an_image_has_what_git_archive_has_of_random_trees);

async fn an_image_has_what_git_archive_has_of_random_trees(docker: Docker) {
    for seed in 1000..1004 {
        let bench = Bench::new(docker, &format!("random{seed}"));
        let mut tree = RandomTree::with_names(seed, docker.has(Feature::AnyNames));
        for step in 0..4 {
            // A change may have put something else in its place.
            tree.write("Dockerfile", ALL);
            let next = if step == 0 { "" } else { "from refs/heads/main^0\n" };
            import(&bench.work(), &tree.commit("main", next));
            let built = bench.build().await;
            assert_eq!(built.sync.is_some(), docker.has(Feature::Buildkit));
            let (image, archive) = (bench.content(&bench.image()), bench.archive());
            let differs = |path: &&Vec<u8>| image.get(*path) != archive.get(*path);
            let paths: Vec<_> = image.keys().chain(archive.keys()).filter(differs).collect();
            let paths: Vec<_> = paths.iter().map(|path| String::from_utf8_lossy(path)).collect();
            assert!(paths.is_empty(), "seed {seed}, commit {step}: {paths:?}");
            tree.change();
        }
    }
}
