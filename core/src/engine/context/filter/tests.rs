use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::git::Oid;

/// Makes a tree of lines `path`, `path/` or `path -> target`.
fn tree(lines: &[&str]) -> (Vec<Entry>, SymlinkTargets) {
    let mut links = SymlinkTargets::new();
    let mut entries: Vec<Entry> = lines
        .iter()
        .map(|line| {
            let (path, kind) = match line.split_once(" -> ") {
                Some((path, _)) => (path, EntryKind::Symlink),
                None => match line.strip_suffix('/') {
                    Some(path) => (path, EntryKind::Dir),
                    None => (*line, EntryKind::File),
                },
            };
            let oid = oid(line);
            if let Some((_, target)) = line.split_once(" -> ") {
                links.insert(oid, target.into());
            }
            Entry { path: path.into(), kind, oid, size: 0, mtime: 0, origin: 0, lfs: false }
        })
        .collect();
    entries.sort_by(|a, b| crate::git::path_order(&a.path, &b.path));
    (entries, links)
}

fn oid(line: &str) -> Oid {
    use sha1::Digest;
    hex::encode(sha1::Sha1::digest(line)).parse().unwrap()
}

fn patterns(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|p| p.as_bytes().to_vec()).collect()
}

fn chosen(tree: &(Vec<Entry>, SymlinkTargets), filter: &PathFilter) -> Vec<String> {
    let end = ChoiceEnd { begun: Instant::now(), left: CancellationToken::new(), bounds: PatternBounds::default() };
    let chosen = super::chosen(&tree.0, &tree.1, filter, &end).unwrap();
    chosen.iter().map(|&i| String::from_utf8(tree.0[i as usize].path.clone()).unwrap()).collect()
}

fn including(lines: &[&str], includes: &[&str]) -> Vec<String> {
    chosen(&tree(lines), &PathFilter { includes: patterns(includes), ..PathFilter::default() })
}

fn excluding(lines: &[&str], excludes: &[&str]) -> Vec<String> {
    chosen(&tree(lines), &PathFilter { excludes: patterns(excludes), ..PathFilter::default() })
}

fn following(lines: &[&str], paths: &[&str]) -> Option<Vec<String>> {
    let (entries, links) = tree(lines);
    let found = follow(&entries, &links, &patterns(paths)).unwrap()?;
    Some(found.into_iter().map(|p| String::from_utf8(p).unwrap()).collect())
}

#[test]
fn includes_bring_their_directories() {
    let lines = ["bar/", "bar/foo", "foo2"];
    for pattern in ["bar", "bar/foo", "b*", "bar/f*", "b*/f*", "b*/foo", "b*/"] {
        assert_eq!(including(&lines, &[pattern]), ["bar", "bar/foo"], "{pattern}");
    }
    assert_eq!(including(&lines, &["bar/g*"]), [""; 0]);
    assert_eq!(including(&lines, &["f*"]), ["foo2"]);
}

#[test]
fn double_stars_include_at_any_depth() {
    let lines = [
        "a/",
        "a/b/",
        "a/b/baz/",
        "a/b/bar/",
        "a/b/bar/foo",
        "a/b/bar/fop",
        "bar/",
        "bar/foo",
        "baz/",
        "foo2",
        "foo/",
        "foo/bar/",
        "foo/bar/bee",
    ];
    assert_eq!(including(&lines, &["**/bar/foo"]), ["a", "a/b", "a/b/bar", "a/b/bar/foo", "bar", "bar/foo"]);
    assert_eq!(
        including(&lines, &["**/bar"]),
        ["a", "a/b", "a/b/bar", "a/b/bar/foo", "a/b/bar/fop", "bar", "bar/foo", "foo", "foo/bar", "foo/bar/bee"]
    );
    assert_eq!(including(&lines, &["**"]).len(), lines.len());
}

#[test]
fn exceptions_bring_back_files_and_their_directories() {
    let lines = ["bar", "foo/", "foo/bar2", "foo/x/", "foo/x/a.md", "foo/x/b", "foo2"];
    assert_eq!(excluding(&lines, &["foo*", "!foo/bar2"]), ["bar", "foo", "foo/bar2"]);
    assert_eq!(excluding(&lines, &["**", "!**/*.md"]), ["foo", "foo/x", "foo/x/a.md"]);
    assert_eq!(excluding(&lines, &["foo/**", "!foo/x/**"]), ["bar", "foo", "foo/x", "foo/x/a.md", "foo/x/b", "foo2"]);
    assert_eq!(excluding(&lines, &["*"]), [""; 0]);
    assert_eq!(excluding(&lines, &["foo"]), ["bar", "foo2"]);
}

/// fsutil removes both wildcards from such an exception, and then skips the directory with the files that the
/// exception would bring back. Docker does the same, and therefore so do we.
#[test]
fn an_exception_for_all_directories_brings_nothing_back() {
    assert_eq!(excluding(&["b/", "b/a/", "b/a/c"], &["*", "!b/*/**"]), [""; 0]);
    assert_eq!(excluding(&["b/", "b/a/", "b/a/c"], &["*", "!b/*/*"]), ["b", "b/a", "b/a/c"]);
}

#[test]
fn links_are_followed() {
    let lines = ["dir/", "dir/foo", "dir/l1 -> foo", "l2 -> dir/l1", "bar", "baz"];
    assert_eq!(following(&lines, &["l2", "bar"]).unwrap(), ["bar", "dir/foo", "dir/l1", "l2"]);
    assert_eq!(following(&lines, &["/bar", "none/x"]).unwrap(), ["bar", "none/x"]);
    assert_eq!(following(&lines, &["bar", "."]), None);
    assert_eq!(following(&lines, &["/"]), None);
}

#[test]
fn absolute_links_stay_in_the_tree() {
    for up in ["../", "../../../"] {
        let link = format!("foo/bar -> {up}");
        let lines = ["dir/", "dir/l1 -> /foo/bar/baz", "foo/", &link, "baz"];
        assert_eq!(following(&lines, &["dir/l1"]).unwrap(), ["baz", "dir/l1", "foo/bar"]);
    }
    let lines = ["dir/", "dir/l1 -> /foo", "dir/l2 -> /", "foo/", "foo/bar"];
    assert_eq!(following(&lines, &["dir/l1", "foo/bar"]).unwrap(), ["dir/l1", "foo"]);
    assert_eq!(following(&lines, &["dir/l2", "foo"]), None);
}

#[test]
fn wildcards_find_links() {
    let lines = [
        "dir/",
        "foo/",
        "dir/l1 -> /foo/bar1",
        "dir/l2 -> /foo/bar2",
        "dir/anotherlink -> /foo/bar3",
        "foo/bar2 -> ../baz",
        "foo/bar1",
        "foo/bar3",
        "baz",
        "top -> foo",
    ];
    assert_eq!(following(&lines, &["dir/l*"]).unwrap(), ["baz", "dir/l*", "foo/bar1", "foo/bar2"]);
    assert_eq!(following(&lines, &["dir", "dir/*link"]).unwrap(), ["dir", "foo/bar3"]);
    assert_eq!(following(&lines, &["t[o]?/bar1"]).unwrap(), ["foo/bar1", "t[o]?"]);
    assert_eq!(following(&lines, &["f*/none/t*"]).unwrap(), ["f*/none/t*"]);
}

/// fsutil forgets the second path through one link here, which we do not.
#[test]
fn several_paths_through_one_linked_directory() {
    let lines = ["l -> dir", "dir/", "dir/a", "dir/b", "dir/c"];
    assert_eq!(following(&lines, &["l/a", "l/b"]).unwrap(), ["dir/a", "dir/b", "l"]);
    assert_eq!(
        chosen(&tree(&lines), &PathFilter { follow: patterns(&["l/a", "l/b"]), ..PathFilter::default() }),
        ["dir", "dir/a", "dir/b", "l"]
    );
}

#[test]
fn loops_end() {
    assert_eq!(following(&["l1 -> l1", "l2 -> l3", "l3 -> l2"], &["l1", "l3"]).unwrap(), ["l1", "l2", "l3"]);
    assert!(following(&["l -> l/x", "m -> ../m/../m/m"], &["l/y", "m/m"]).is_some());
}

#[test]
fn links_to_the_root_bring_all() {
    let lines = ["foo -> .", "bar", "bay/", "bay/baz"];
    let all = chosen(&tree(&lines), &PathFilter { follow: patterns(&["foo"]), ..PathFilter::default() });
    assert_eq!(all, ["bar", "bay", "bay/baz", "foo"]);
}

#[test]
fn a_hostile_tree_of_links_is_bounded() {
    // Each step doubles the paths and makes them longer, which gives 2^40 paths without a limit.
    let lines = ["d/", "d/a -> /d/*/p", "d/b -> /d/*/q"];
    assert!(following(&lines, &["d/*"]).is_some());
}

#[test]
fn a_choice_ends_when_nobody_waits_for_it() {
    let (entries, links) = tree(&["a"]);
    let filter = PathFilter { excludes: patterns(&["b"]), ..PathFilter::default() };
    let time = Duration::from_secs(30);
    let bounds = PatternBounds { time, ..PatternBounds::default() };
    let end = |begun| ChoiceEnd { begun, left: CancellationToken::new(), bounds };
    let (now, left) = (Instant::now(), end(Instant::now()));
    assert_eq!(super::chosen(&entries, &links, &filter, &left), Ok(vec![0]));
    left.left.cancel();
    let late = Err(BadPattern::Late { files: 1, time });
    assert_eq!(super::chosen(&entries, &links, &filter, &left), late);
    if let Some(begun) = now.checked_sub(time + Duration::from_secs(1)) {
        assert_eq!(super::chosen(&entries, &links, &filter, &end(begun)), late);
    }
}

fn path() -> impl Strategy<Value = String> {
    "[ab]{1,2}(/[ab]{1,2}){0,3}"
}

proptest! {
    /// Skipping directories gives the same result as matching every entry alone.
    #[test]
    fn the_walk_agrees_with_single_paths(
        files in prop::collection::vec(path(), 1..20),
        excludes in prop::collection::vec("!?[ab*]{1,2}(/([ab]{1,2}|\\*|\\*\\*)){0,3}", 1..5),
    ) {
        prop_assume!(!excludes.iter().any(|e| e.ends_with("/*/**")));
        let mut lines = std::collections::BTreeSet::new();
        for file in &files {
            for (i, _) in file.match_indices('/') {
                lines.insert(format!("{}/", &file[..i]));
            }
        }
        // A path of a directory cannot be a file too.
        let plain: Vec<_> = files.iter().filter(|f| !lines.contains(&format!("{f}/"))).cloned().collect();
        lines.extend(plain);
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let excludes: Vec<&str> = excludes.iter().map(String::as_str).collect();

        let matcher = Matcher::new(&excludes).unwrap();
        let alone = |path: &str| !matcher.matches_alone(path.as_bytes()).unwrap();
        let files = |paths: Vec<String>| paths.into_iter().filter(|p| lines.contains(&p.as_str())).collect::<Vec<_>>();
        let walked = files(excluding(&lines, &excludes));
        let (entries, _) = tree(&lines);
        let single = files(entries.iter().map(|e| String::from_utf8(e.path.clone()).unwrap()).filter(|p| alone(p)).collect());
        prop_assert_eq!(walked, single);
    }
}
