//! Repositories that are not as one would have them.

use std::fmt::Write;

use super::*;
use crate::harness::{import, processes_of};

/// The head of a commit, for fast-import.
fn head(branch: &str) -> String {
    format!("commit refs/heads/{branch}\ncommitter T <t@t> 1500000000 +0000\ndata 1\nx\n")
}

#[tokio::test]
async fn a_renamed_branch_is_named() {
    let local = Local::new();
    let id = local.repo.commit("develop", &[("a", "1")]);
    local.commit("develop", "HEAD", false).await.unwrap();
    local.repo.git(&["--git-dir", local.repo.bare.to_str().unwrap(), "branch", "-m", "develop", "main"]);
    let error = local.commit("develop", "HEAD", false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Request 128 final: acme/hello has no branch or tag "develop": push it, or ask for another one ("main")"#);
    assert_eq!(local.commit("main", &id, false).await.unwrap().to_string(), id);
    for i in 0..9 {
        local.repo.git(&["push", "-q", "origin", &format!("HEAD:refs/heads/b{i}")]);
    }
    let error = local.commit("develop", "HEAD", false).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @r#"Request 128 final: acme/hello has no branch or tag "develop": push it, or ask for another one ("b0", "b1", "b2", "b3", "b4", …)"#);
}

#[tokio::test]
async fn an_empty_repository_is_named_as_empty() {
    let local = Local::new();
    for _ in 0..2 {
        let error = local.commit("develop", "HEAD", false).await.unwrap_err();
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &[]), @r#"Request 128 final: acme/hello has no branch or tag "develop": it is empty, push something to it"#);
        }
    }
    let id = local.repo.commit("develop", &[("a", "1")]);
    assert_eq!(local.commit("develop", "HEAD", false).await.unwrap().to_string(), id);
}

#[tokio::test]
async fn a_tag_that_moved_is_where_it_is_now() {
    let local = Local::new();
    let first = local.repo.commit("develop", &[("a", "1")]);
    local.repo.git(&["push", "-q", "origin", "HEAD:refs/tags/plain"]);
    local.repo.tag("annotated");
    let second = local.repo.commit("develop", &[("a", "2")]);
    for tag in ["plain", "annotated"] {
        assert_eq!(local.commit(tag, "HEAD", false).await.unwrap().to_string(), first);
    }
    local.repo.git(&["tag", "-f", "-a", "-m", "x", "annotated"]);
    local.repo.git(&["push", "-q", "-f", "origin", "HEAD:refs/tags/plain", "refs/tags/annotated"]);
    for tag in ["plain", "annotated"] {
        assert_eq!(local.commit(tag, "HEAD", false).await.unwrap().to_string(), second);
    }
    local.repo.git(&["push", "-q", "origin", ":refs/tags/plain"]);
    assert!(local.commit("plain", "HEAD", false).await.is_err());
}

#[tokio::test]
async fn refs_whose_names_conflict() {
    let local = Local::new();
    local.repo.commit("topic/one", &[("a", "1")]);
    local.commit("topic/one", "HEAD", false).await.unwrap();
    local.repo.git(&["push", "-q", "origin", ":refs/heads/topic/one", "HEAD:refs/heads/topic"]);
    local.commit("topic", "HEAD", false).await.unwrap();
    local.repo.git(&["push", "-q", "origin", ":refs/heads/topic", "HEAD:refs/tags/topic/two"]);
    local.commit("topic/two", "HEAD", false).await.unwrap();
    assert!(local.commit("topic", "HEAD", false).await.is_err());
}

#[tokio::test]
async fn names_of_refs_that_are_odd() {
    let local = Local::new();
    let id = local.repo.commit("develop", &[("a", "1")]);
    let other = local.repo.commit("Develop", &[("a", "2")]);
    local.repo.git(&["push", "-q", "origin", "HEAD:refs/heads/\u{fc}n\u{ef}code", "HEAD:refs/heads/a'b\"c$(d)"]);
    // No one can ask for this one, and it stands in nobody's way.
    import(&local.repo.bare, &[b"reset refs/heads/f\xff\nfrom ", id.as_bytes(), b"\n\n"].concat());
    for (on, expected) in [("develop", &id), ("Develop", &other), ("\u{fc}n\u{ef}code", &other), ("a'b\"c$(d)", &other)]
    {
        assert_eq!(local.commit(on, "HEAD", false).await.unwrap().to_string(), *expected, "{on}");
    }
}

#[tokio::test]
async fn a_hundred_thousand_files() {
    let local = Local::new();
    let mut stream = head("develop");
    for i in 0..100_000 {
        let _ = write!(stream, "M 644 inline d{}/e{}/f{i}\ndata 5\n{i:05}\n", i % 100, i % 1000);
    }
    import(&local.repo.bare, stream.as_bytes());
    let snapshot = local.snapshot().await.unwrap();
    assert_eq!(snapshot.entries.len(), 100_000 + 1000 + 100);
    let mut blobs = snapshot.blobs().unwrap();
    for i in [0, 4_711, 99_999] {
        let entry = snapshot.entry(format!("d{}/e{}/f{i}", i % 100, i % 1000).as_bytes()).unwrap();
        assert_eq!(blobs.read(entry).await.unwrap(), format!("{i:05}").as_bytes());
    }
    // All but one have their times from the table.
    import(
        &local.repo.bare,
        (head("develop") + "from refs/heads/develop^0\nM 644 inline d0/e0/f0\ndata 5\nother\n").as_bytes(),
    );
    let second = local.snapshot().await.unwrap();
    let changed = second.entries.iter().zip(&snapshot.entries).filter(|(new, old)| new.mtime != old.mtime);
    let changed: Vec<_> = changed.map(|(new, _)| String::from_utf8_lossy(&new.path).into_owned()).collect();
    assert_eq!(changed, ["d0", "d0/e0", "d0/e0/f0"]);
}

#[tokio::test]
async fn a_path_of_4000_bytes() {
    let local = Local::new();
    let path = vec!["p".repeat(199); 20].join("/");
    import(&local.repo.bare, format!("{}M 644 inline {path}\ndata 1\nx\n", head("develop")).as_bytes());
    let snapshot = local.snapshot().await.unwrap();
    assert_eq!(snapshot.entries.len(), 20);
    assert_eq!(contents(&snapshot).await.unwrap(), [(path, b"x".to_vec())]);
}

#[tokio::test]
async fn names_that_differ_in_case_alone_and_links_that_lead_nowhere() {
    let local = Local::new();
    let mut stream = head("develop");
    for name in ["README", "readme", "Readme/x"] {
        let _ = write!(stream, "M 644 inline {name}\ndata {}\n{name}\n", name.len());
    }
    let links = ["../../../outside", "/etc/passwd", "nowhere", "self", "readme"];
    for (i, target) in links.iter().enumerate() {
        let _ = write!(stream, "M 120000 inline link{i}\ndata {}\n{target}\n", target.len());
    }
    import(&local.repo.bare, stream.as_bytes());
    let contents = contents(&local.snapshot().await.unwrap()).await.unwrap();
    for name in ["README", "readme", "Readme/x"] {
        assert!(contents.contains(&(name.into(), name.into())), "{name}");
    }
    // A link is its target, which nobody follows.
    for (i, target) in links.iter().enumerate() {
        assert!(contents.contains(&(format!("link{i}"), (*target).into())), "{target}");
    }
}

fn most_memory(pid: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

/// Git would have the whole file in memory, once or twice.
#[tokio::test]
async fn a_file_of_200_mib_passes_through() {
    const MIB: usize = 200;
    let (local, mut chunk) = (Local::new(), vec![0; 1 << 20]);
    // Random bytes do not compress.
    fastrand::Rng::with_seed(1).fill(&mut chunk);
    let stream =
        [format!("{}M 644 inline large\ndata {}\n", head("develop"), MIB << 20).into_bytes(), chunk.repeat(MIB)];
    import(&local.repo.bare, &stream.concat());
    drop(stream);
    let snapshot = local.snapshot().await.unwrap();
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = most_memory("self");
    let mut blobs = snapshot.blobs().unwrap();
    let mut blob = blobs.open(snapshot.entry(b"large").unwrap()).await.unwrap();
    let (mut read, mut gits) = (0, 0);
    while let Some(part) = blob.chunk().await.unwrap() {
        let at = read % chunk.len();
        assert!(part == chunk[at..at + part.len()], "at {read}");
        read += part.len();
    }
    for line in processes_of("cat-file --batch") {
        let pid = line.split(' ').next().unwrap();
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
        if cwd.starts_with(local.dir.path()) {
            gits += 1;
            let most = most_memory(pid);
            assert!(most < 64, "git cat-file took {most} MiB");
        }
    }
    assert_eq!((read, gits), (MIB << 20, 1));
    let most = most_memory("self") - before;
    assert!(most < 16, "we took {most} MiB");
}
