//! The part of a tree that the engine gets, and the part that is sent.

use super::*;

on_each_docker!(
    an_image_has_what_git_archive_has,
    one_changed_file_sends_its_bytes_and_no_others,
    an_edit_of_the_same_size_in_the_same_second_is_not_stale,
    two_builds_at_once_on_one_key_are_both_right,
    dockerignore_is_that_of_docker,
    a_dockerignore_of_400_lines,
    copies_go_through_links_and_submodules_are_empty,
    a_build_dropped_while_it_syncs_harms_no_later_one,
    copies_of_odd_names,
);

async fn an_image_has_what_git_archive_has(docker: Docker) {
    let bench = Bench::new(docker, "equal");
    bench.write("Dockerfile", ALL);
    let check = async |what: &str| {
        bench.commit();
        let built = bench.build().await;
        assert!(bench.content(&bench.image()) == bench.archive(), "after: {what}");
        assert!(built.sync.is_some());
    };
    for i in 0..30 {
        bench.write(format!("src/{}/f{i}.txt", i % 7), format!("file {i}\n").repeat(100));
    }
    // Byte order and fsutil's order differ here.
    for path in ["a/b/c", "a.b", "a/b.c", "a-b", "a/b-c/d", "a0"] {
        bench.write(path, path);
    }
    check("first").await;
    bench.write("src/1/f1.txt", "short");
    bench.write("src/2/f2.txt", "long ".repeat(10_000));
    check("shrink and grow").await;
    bench.write("src/3/f3.txt", "FILE 3\n".repeat(100));
    check("same size").await;
    fs::set_permissions(bench.work().join("src/4/f4.txt"), fs::Permissions::from_mode(0o755)).unwrap();
    check("executable").await;
    bench.remove("src/5");
    bench.remove("a.b");
    check("deleted").await;
    fs::rename(bench.work().join("src/6"), bench.work().join("src/six")).unwrap();
    check("renamed").await;
    bench.remove("a/b");
    bench.write("a/b", "a file now");
    check("directory to file").await;
    bench.remove("a/b");
    bench.link("a/b", "../src/1");
    check("file to symlink").await;
    bench.remove("a/b");
    bench.write("a/b/c", "a directory again");
    check("symlink to directory").await;
    bench.link("dangling", "nowhere/at all");
    bench.link("absolute", "/etc/passwd");
    bench.link("up", "../../outside");
    bench.link("itself", "itself");
    check("odd links").await;
    for name in [
        b"a b\nc".as_slice(),
        b"\"quoted\"",
        b"back\\slash",
        b"star*[x]?",
        b"-rf",
        "ümläut ☺".as_bytes(),
        b"...",
        b".hidden",
        b"#x",
        b"!x",
        b"con%20tent",
    ] {
        bench.write(name, name);
    }
    check("odd names").await;
    for name in [b"not\xff\xfeutf8".as_slice(), b"dir\xc3/x\xff"] {
        bench.write(name, name);
    }
    if docker.has(Feature::AnyNames) {
        check("names that are not UTF-8").await;
    } else {
        bench.commit();
        let error = bench.try_build(&Log::default()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Build, "{error}");
        assert!(error.message.contains(r"the path dir\xc3/x\xff is not UTF-8"), "{error}");
        bench.remove(OsStr::from_bytes(b"not\xff\xfeutf8"));
        bench.remove(OsStr::from_bytes(b"dir\xc3"));
    }
    bench.write("empty", "");
    bench.write("big", (0..20 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>());
    check("empty and 20 MB").await;
    bench.write("empty", "no more");
    bench.write("src/1/f1.txt", "");
    bench.remove("big");
    check("emptied").await;
    bench.run(&["revert", "--no-edit", "HEAD~3"]);
    check("reverted").await;
}

async fn one_changed_file_sends_its_bytes_and_no_others(docker: Docker) {
    let bench = Bench::new(docker, "onefile");
    bench.write("Dockerfile", ALL);
    for i in 0..50 {
        bench.write(format!("src/f{i}"), format!("content {i}").repeat(300));
    }
    bench.commit();
    let first = bench.build().await.sync.unwrap();
    assert!(first.requests >= 51, "{first:?}");
    let edit = |round| {
        bench.write("src/f7", format!("seven {round}"));
        bench.commit();
    };
    bench.asks_for((1, 7), edit).await;
    bench.asks_for((0, 0), |_| ()).await;
}

async fn an_edit_of_the_same_size_in_the_same_second_is_not_stale(docker: Docker) {
    let bench = Bench::new(docker, "samesize");
    bench.write("Dockerfile", ALL);
    for (round, content) in ["one", "two", "six", "one", "two"].into_iter().enumerate() {
        bench.write("file", content);
        bench.commit();
        bench.build().await;
        assert_eq!(bench.content(&bench.image())[&b"file"[..]].2, content.as_bytes(), "{round}");
    }
    let edit = |round| {
        bench.write("file", format!("al{round}"));
        bench.commit();
    };
    bench.asks_for((1, 3), edit).await;
}

async fn two_builds_at_once_on_one_key_are_both_right(docker: Docker) {
    let bench = Bench::new(docker, "atonce");
    bench.write("Dockerfile", format!("{ALL}RUN sleep 1\n"));
    for i in 0..200 {
        bench.write(format!("src/f{i}"), format!("content {i}").repeat(100));
    }
    bench.write("file", "none");
    bench.commit();
    bench.build().await;
    let log = Log::default();
    // Each slot keeps its own context: in a later round both send what changed alone. The round may be any later one, since
    // an engine answers a moment before it lets go of a context.
    let mut alone = false;
    for round in 0..5 {
        bench.write("file", format!("left {round}"));
        bench.commit();
        let left = (bench.snapshot(&log).await, bench.archive());
        bench.write("file", format!("riht {round}"));
        bench.write(format!("other {round}"), "x");
        bench.commit();
        let right = (bench.snapshot(&log).await, bench.archive());
        let images = ["left", "right"].map(|tag| ImageRef::parse(&format!("{}:{tag}", bench.name)).unwrap());
        let (a, b) = tokio::join!(
            bench.build_of(left.0, &images[0], "Dockerfile", &log),
            bench.build_of(right.0, &images[1], "Dockerfile", &log)
        );
        let (a, b) = (a.unwrap().sync.unwrap(), b.unwrap().sync.unwrap());
        assert!(bench.content(&images[0]) == left.1);
        assert!(bench.content(&images[1]) == right.1);
        let most = bench.asked_again().0 + 3;
        alone = round > 0 && a.requests <= most && b.requests <= most;
        for image in images {
            bench.engine.remove_image(&image).await.unwrap();
        }
        if alone {
            break;
        }
    }
    assert!(alone, "both sent more than what changed in each round");
}

async fn dockerignore_is_that_of_docker(docker: Docker) {
    let bench = Bench::new(docker, "ignore");
    bench.write("Dockerfile", ALL);
    for path in [
        "README.md",
        "docs/a.md",
        "docs/deep/b.md",
        "docs/deep/c.txt",
        "node_modules/x/y.js",
        "src/node_modules/z.js",
        "src/main.rs",
        "src/main.rs.bak",
        "secret",
        "keep/me",
        "keep/not",
        "tmp1/a",
        "tmp2/a",
        "x/tmp3/a",
        "ünïcode",
        "a b",
    ] {
        bench.write(path, path);
    }
    bench.write(
        ".dockerignore",
        "# a comment\n\n**/*.md\n!README.md\n  node_modules  \n**/*.bak\n/secret\nkeep\n!keep/me\n*/tmp*\ntmp?\nDockerfile\nünïcode\n",
    );
    bench.commit();
    bench.build().await;
    let expected = [
        ".dockerignore",
        "README.md",
        "a b",
        "docs",
        "docs/deep",
        "docs/deep/c.txt",
        "keep",
        "keep/me",
        "src",
        "src/main.rs",
        "src/node_modules",
        "src/node_modules/z.js",
        "x",
    ];
    assert_eq!(bench.paths(), expected);

    // A Dockerfile's own ignore file comes first.
    bench.write("Dockerfile.dockerignore", "**\n!**/*.md\n");
    bench.commit();
    bench.build().await;
    assert_eq!(bench.paths(), ["README.md", "docs", "docs/a.md", "docs/deep", "docs/deep/b.md"]);
    bench.write("Dockerfile.dockerignore", "[\n");
    bench.commit();
    let error = bench.try_build(&Log::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Build, "{error}");
    assert!(error.message.contains("pattern \"[\""), "{error}");
}

async fn a_dockerignore_of_400_lines(docker: Docker) {
    let bench = Bench::new(docker, "ignore400");
    bench.write("Dockerfile", ALL);
    let mut lines = String::new();
    for i in 0..400 {
        lines.push_str(&format!("some/rather/long/directory/name/**/file-{i}-*.txt\n"));
        bench.write(format!("some/rather/long/directory/name/x/file-{i}-a.txt"), "x");
    }
    bench.write("some/file-1-a.txt", "x");
    bench.write(".dockerignore", lines);
    bench.commit();
    bench.build().await;
    let files: Vec<_> = bench.paths().into_iter().filter(|p| p.ends_with(".txt")).collect();
    assert_eq!(files, ["some/file-1-a.txt"]);
}

async fn copies_go_through_links_and_submodules_are_empty(docker: Docker) {
    let bench = Bench::new(docker, "links");
    bench.write("real/one", "1");
    bench.write("real/two", "2");
    bench.write("real/three", "3");
    bench.link("short", "real");
    bench.link("other", "/short/two");
    bench.write(
        "Dockerfile",
        "FROM image-factory-busybox:1\nCOPY short/one other short/thr* /ctx/\nCOPY module /ctx/module\n",
    );
    bench.commit();
    let head = bench.run(&["rev-parse", "HEAD"]);
    bench.run(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},module")]);
    bench.run(&["commit", "-q", "-m", "m"]);
    let sync = bench.build().await.sync.unwrap();
    assert_eq!(bench.paths(), ["module", "one", "other", "three"]);
    assert!(sync.stats > 0);
}

async fn a_build_dropped_while_it_syncs_harms_no_later_one(docker: Docker) {
    let bench = Bench::new(docker, "midsync");
    bench.write("Dockerfile", ALL);
    for i in 0..3000 {
        bench.write(format!("d{}/f{i}", i % 40), format!("content {i}").repeat(100));
    }
    bench.commit();
    let log = Log::default();
    tokio::select! {
        result = bench.try_build(&log) => panic!("{result:?}"),
        () = until("the sync", || log.text().contains("load build context")) => {}
    }
    bench.write("d1/f1", "changed");
    bench.commit();
    bench.build().await;
    assert!(bench.content(&bench.image()) == bench.archive());
}

/// The names in `COPY` travel in a header, and newer engines escape them.
async fn copies_of_odd_names(docker: Docker) {
    let bench = Bench::new(docker, "oddcopies");
    let names = ["a b", "c+d", "50%25", "ümläut ☺", "eq=ual&amp", "com,ma;", "%zz"];
    for name in names {
        bench.write(name, name);
    }
    bench.write("unwanted", "x");
    bench.write(".dockerignore", "c+e\n100%\nün wanted\n");
    let copy = |name| format!("COPY {}\n", serde_json::json!([name, "/ctx/"]));
    let copies = names.map(copy).concat();
    bench.write("Dockerfile", format!("FROM image-factory-busybox:1\n{copies}"));
    bench.commit();
    bench.build().await;
    let mut names: Vec<_> = names.into();
    names.sort_unstable();
    assert_eq!(bench.paths(), names);
    bench.write("c+d", "changed");
    bench.commit();
    bench.build().await;
    assert_eq!(bench.content(&bench.image())[&b"c+d"[..]].2, b"changed");
    let edit = |round| {
        bench.write("c+d", format!("{round}"));
        bench.commit();
    };
    bench.asks_for((1, 1), edit).await;
}
