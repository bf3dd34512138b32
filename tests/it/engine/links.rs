//! Files that a builder reads by their path may be links inside the tree; contents that a checkout converts are sent
//! converted. Both builders do the same.

use super::*;

on_each_engine!(
    what_is_read_is_followed_through_links,
    a_dockerignore_that_leads_out_of_the_tree_is_absent,
    converted_files_are_sent_converted,
);

fn each_builder(docker: Docker, name: &str) -> impl Iterator<Item = Bench> {
    docker.builders().iter().map(move |builder| {
        let mut bench = Bench::new(docker, &format!("{name}-{builder:?}").to_lowercase());
        bench.engine = Engine::new(bench.host.parse::<Host>().unwrap()).with_builder(*builder);
        bench
    })
}

async fn what_is_read_is_followed_through_links(docker: Docker) {
    for bench in each_builder(docker, "links") {
        bench.write("deploy/images/main", ALL);
        bench.link("deploy/Dockerfile", "images/main");
        bench.link("ops", "deploy");
        bench.link("Dockerfile", "./ops/Dockerfile");
        // The builders need `.dockerignore` and the Dockerfile, although both are excluded.
        bench.write("deploy/ignore", "secret\ndeploy\nops\nDockerfile*\n.dockerignore\n");
        bench.link("ignore", "deploy/ignore");
        bench.link(".dockerignore", "ignore");
        bench.write("secret", "x");
        bench.write("kept", "x");
        bench.commit();
        bench.build().await;
        // The engine removes the files that the classic builder is sent only to read, and leaves their folders.
        let is_context =
            |paths: &[String]| paths.iter().filter(|path| !path.starts_with("deploy")).eq(["ignore", "kept"]);
        assert!(is_context(&bench.paths()), "{:?}", bench.paths());
        assert!(!bench.paths().contains(&"deploy/images/main".into()), "{:?}", bench.paths());
        let log = Log::default();
        let snapshot = bench.snapshot(&log).await;
        let built = bench.build_of(snapshot, &bench.image(), "ops/Dockerfile", &log).await;
        built.unwrap_or_else(|e| panic!("{e}\n{}", log.text()));
        assert!(is_context(&bench.paths()), "{:?}", bench.paths());
        // One for this Dockerfile, a link too, comes first.
        bench.write("deploy/other", "kept\n");
        bench.link("Dockerfile.dockerignore", "deploy/other");
        bench.commit();
        bench.build().await;
        let paths = bench.paths();
        assert!(paths.contains(&"secret".into()) && !paths.contains(&"kept".into()), "{paths:?}");
    }
}

async fn a_dockerignore_that_leads_out_of_the_tree_is_absent(docker: Docker) {
    for bench in each_builder(docker, "outside") {
        bench.write("Dockerfile", ALL);
        // BuildKit alone would take the tree for the root of the file system.
        bench.write("rules", "kept\n");
        for target in ["/rules", "../rules", "nowhere"] {
            bench.link(".dockerignore", target);
            // The classic builder's cache takes two links for one that lead to the same file.
            bench.write("kept", target);
            bench.commit();
            bench.build().await;
            let link = bench.content(&bench.image()).remove(&b".dockerignore"[..]);
            assert_eq!(link, Some(("link", false, target.into())));
            assert_eq!(bench.paths(), [".dockerignore", "Dockerfile", "kept", "rules"], "{target}");
            bench.remove(".dockerignore");
        }
    }
}

async fn converted_files_are_sent_converted(docker: Docker) {
    for bench in each_builder(docker, "converted") {
        bench.write("Dockerfile", ALL);
        bench.write(".gitattributes", "*.bat eol=crlf\n*.id ident\n*.reg working-tree-encoding=UTF-16\n");
        bench.write("a.bat", "echo\nexit\n");
        bench.write("b.id", "$Id$");
        bench.write("c.txt", "a\n$Id$");
        bench.write("d.reg", b"\xff\xfea\0");
        bench.commit();
        bench.build().await;
        let content = bench.content(&bench.image());
        // `git archive` converts them as a checkout does.
        assert!(content == bench.archive(), "{content:?}");
        assert_eq!(content[&b"d.reg"[..]].2, b"\xff\xfea\0");
        assert_eq!(content[&b"b.id"[..]].2.len(), "$Id:  $".len() + 40);
        // A change of the attribute alone changes the file's time, too.
        bench.write(".gitattributes", "*.id ident\n*.reg working-tree-encoding=UTF-16\n");
        bench.commit();
        bench.build().await;
        assert_eq!(bench.content(&bench.image())[&b"a.bat"[..]].2, b"echo\nexit\n");
    }
}
