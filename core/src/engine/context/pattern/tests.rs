use proptest::prelude::*;
use regex::Regex;

use super::*;

fn matches(patterns: &[&str], path: &str) -> bool {
    Matcher::new(patterns).unwrap().matches_alone(path.as_bytes()).unwrap()
}

#[test]
fn one_pattern() {
    for (pattern, path, expected) in [
        ("**", "file", true),
        ("**/", "file", true),
        ("**", "dir/file", true),
        ("**/**", "dir/file", true),
        ("dir/**", "dir/file", true),
        ("dir/**", "dir", false),
        ("dir/**", "dir/dir2/file", true),
        ("**/dir", "dir", true),
        ("**/dir", "dir/file", true),
        ("**/dir2/*", "dir/dir2/file", true),
        ("**/dir2/**", "dir/dir2/dir3/file", true),
        ("**file", "file", true),
        ("**file", "dir/dir/file", true),
        ("**/file*txt", "dir/dir/file.txt", true),
        ("**/**/*.txt", "dir/dir/file.txt", true),
        ("**/**/*.txt2", "dir/dir/file.txt", false),
        ("**/*.txt", "file.txt", true),
        ("a**/*.txt", "a/dir/dir/file.txt", true),
        ("a/*.txt", "a/dir/file.txt", false),
        ("a/*.txt**", "a/file.txt", true),
        ("a[b-d]e", "ace", true),
        ("a[b-d]e", "ae", false),
        ("a[^b-d]e", "aze", true),
        (".*", ".foo", true),
        (".*", "foo", false),
        ("abc.def", "abcZdef", false),
        ("abc?def", "abcZdef", true),
        ("abc?def", "abc/def", false),
        ("**/foo/bar", "dir/dir2/foo/bar", true),
        ("**/.foo", "bar.foo", false),
        ("a(b)c/def", "a(b)c/def", true),
        ("a.|)$(}+{bc", "a.|)$(}+{bc", true),
        ("dist/*.whl", "dist/x-2.4.0rc3.dev36+g08-any.whl", true),
        ("a\\\\", "a\\", true),
        ("a\\*b", "a*b", true),
        ("a\\*b", "axb", false),
        ("a*b?c*x", "abxbbxdbxebxczzx", true),
        ("a*b?c*x", "abxbbxdbxebxczzy", false),
        ("a?b", "a☺b", true),
        ("a???b", "a☺b", false),
        ("[a-ζ]*", "α", true),
        ("[\\]a]", "]", true),
        ("[x\\-]", "-", true),
        ("[x\\-]", "z", false),
        ("*x", "xxx", true),
        ("docs/", "docs/README.md", true),
        ("./docs//x/../y", "docs/y", true),
        ("a^b", "a^b", true),
        ("a^b*", "a^b", false),
        ("\u{3000}a\u{b}", "a", true),
        // Docker alone reads these patterns like this.
        ("a\\d", "a5", true),
        ("a\\x41", "aA", true),
        ("a[*]", "a*", false),
        ("x*|a", "xyz", true),
        ("x*a{2}", "xaa", true),
        ("a*[]b]", "ax]", true),
        ("a*\\", "ab$c", true),
        ("a[*]", "a]", true),
        ("a[?]", "a/]", true),
    ] {
        assert_eq!(matches(&[pattern], path), expected, "{pattern} against {path}");
    }
}

#[test]
fn later_patterns_take_back() {
    for (patterns, path, expected) in [
        (&["docs", "!docs/README.md"][..], "docs/README.md", false),
        (&["docs", "!docs/README.md"], "docs/other.md", true),
        (&["!a.go", "*.go"], "a.go", true),
        (&["*.go", "  !a.go  "], "a.go", false),
        (&["**", "!util/web"], "util/web/foo", false),
        (&["**", "!util/web", "util/web/foo"], "util/web/foo", true),
        (&["**", "!**/*.md"], "a/b/c.md", false),
        (&["**", "!**/*.md"], "a/b/c.mdx", true),
        (&["a/b", "!a", "a/b/c"], "a/b/c", true),
    ] {
        assert_eq!(matches(patterns, path), expected, "{patterns:?} against {path}");
    }
}

#[test]
fn malformed_patterns_are_named() {
    for pattern in [
        "!", "[", "[^", "[^bc", "a[", "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "\\", "a\\", "*[-]", "?*[", ".*a[]",
        "[.]*[-", "[z-a]", "a\\c",
    ] {
        // Docker finds the errors of the last ones only when it matches a path.
        let result = Matcher::new(&[pattern]).and_then(|matcher| matcher.matches_alone(b"x"));
        let error = result.err().unwrap_or_else(|| panic!("{pattern} was accepted"));
        assert!(error.to_string().contains(&format!("{pattern:?}")), "{error}");
    }
}

#[test]
fn bytes_that_are_not_utf8_match_wildcards_and_themselves() {
    let matches =
        |pattern: &[u8], path: &[u8]| Matcher::new(&[pattern]).unwrap().matches(path, &[], &mut vec![]).unwrap();
    assert!(matches(b"*", b"a\xff\xfe"));
    assert!(matches(b"a??", b"a\xff\xfe"));
    assert!(!matches(b"a?", b"a\xff\xfe"));
    assert!(matches(b"a\xff", b"a\xff"));
    assert!(!matches(b"a\xff", b"a\xfe"));
    assert!(matches(b"**/a\xff", b"x/a\xff"));
}

#[test]
fn paths_are_cleaned_as_go_does() {
    for (path, cleaned) in [
        ("", "."),
        ("a/../..", ".."),
        ("/..", "/"),
        ("/a//b/./", "/a/b"),
        ("../../a", "../../a"),
        ("a/b/..", "a"),
        ("/../a", "/a"),
    ] {
        assert_eq!(clean(path.as_bytes()), cleaned.as_bytes(), "{path}");
    }
}

#[test]
fn an_ignore_file_is_read() {
    let content = b"\xef\xbb\xbf# comment\n  # pattern\r\n\n/abs\n!  /back \n*/x/../y\n!\n/\n";
    let read: Vec<_> = read_ignore_file(content).iter().map(|p| String::from_utf8(p.clone()).unwrap()).collect();
    assert_eq!(read, ["# pattern", "abs", "!back", "*/y", "!", "/"]);
}

/// Tries every pattern for each path, as Docker does. The order is that of the path's directories.
fn one_by_one(patterns: &[Pattern], path: &str) -> Result<bool, BadPattern> {
    let (mut parent, mut result) = (vec![false; patterns.len()], false);
    for end in path.match_indices('/').map(|(at, _)| at).chain([path.len()]) {
        result = false;
        for (pattern, hit) in patterns.iter().zip(&mut parent) {
            let budget = RegexBudget::default();
            *hit = *hit || (pattern.exception == result && pattern.matches(&path.as_bytes()[..end], &budget)?);
            if *hit {
                result = !pattern.exception;
            }
        }
    }
    Ok(result)
}

#[test]
fn large_regexes_are_refused() {
    let try_all = |patterns: &[String]| {
        let matcher = Matcher::new(patterns).unwrap();
        matcher.matches_alone("a".repeat(2000).as_bytes()).map_err(|error| error.to_string())
    };
    assert_eq!(try_all(&["*a{1,9}".into()]), Ok(true));
    let error = try_all(&["?*[^x]{1,999}".into()]).unwrap_err();
    assert!(error.contains("takes more than 256 KiB"), "{error}");
    // Each of them is small.
    let many: Vec<_> = (0..4000).map(|n| format!("!*{}?*b{{1,200}}", "?".repeat(n % 30))).chain(["*".into()]).collect();
    let many: Vec<_> = many.iter().flat_map(|pattern| ["*".to_owned(), pattern.clone()]).collect();
    assert!(try_all(&many).unwrap_err().contains("more than 16384 KiB"));
}

proptest! {
    /// The index leaves out only patterns that do not match.
    #[test]
    fn the_index_changes_nothing(
        patterns in prop::collection::vec("!?([ab.]|a|b|/|\\*|\\*\\*/|\\*\\*|\\?|\\[ab\\]|\\\\a|é|\\|){1,7}", 1..12),
        path in "[abé]{1,3}(/[abé.]{1,3}){0,3}",
    ) {
        if let Ok(matcher) = Matcher::new(&patterns) {
            prop_assert_eq!(matcher.matches_alone(path.as_bytes()), one_by_one(&matcher.patterns, &path));
        }
    }

    #[test]
    fn no_pattern_panics_and_a_plain_one_matches_itself(pattern in "[a-c*?!\\[\\]^./\\\\-]{0,12}", path in "[a-c]{1,3}(/[a-c]{1,3}){0,3}") {
        if let Ok(matcher) = Matcher::new(&[&pattern]) {
            let _ = matcher.matches(path.as_bytes(), &[], &mut Matched::new());
        }
        prop_assert!(matches(&[&path], &path));
        prop_assert!(matches(&["**"], &path));
        let back = format!("!{path}");
        prop_assert!(!matches(&["**", &back], &path));
    }

    #[test]
    fn head_and_tail_only_save_time(pattern in "[ab*?/]{1,8}", path in "[ab]{1,3}(/[ab]{1,3}){0,3}") {
        let cleaned = String::from_utf8(clean(pattern.as_bytes())).unwrap();
        if let Ok(PatternKind::Regex(glob)) = compile(cleaned.as_bytes(), true) {
            let whole = Regex::new(&glob.source).unwrap().is_match(&path);
            prop_assert_eq!(glob.matches(path.as_bytes(), b"", &RegexBudget::default()).unwrap(), whole);
        }
    }

    #[test]
    fn cleaning_twice_changes_nothing(path in "[a./]{0,12}") {
        let once = clean(path.as_bytes());
        prop_assert_eq!(clean(&once), once);
    }
}
