//! Comments are sentences, and a type's name is the name of one thing.

use std::collections::{BTreeMap, BTreeSet};

use regex::Regex;

use super::{rust_files, sources, without_tests};

/// Words that open a fragment, or a sentence that names its subject late.
const OPENINGS: [&str; 18] = [
    "Of", "What", "Whose", "Who", "So", "That", "It", "Whether", "How", "And", "But", "Also", "Only", "Likewise",
    "Else", "Nor", "Then", "Where",
];
/// The share of comments that may open with one of them: a sentence now and then is right to.
const SHARE: f64 = 0.03;

#[test]
fn comments_open_with_their_subject() {
    let comment = Regex::new(r"^\s*//[/!]? ?(.*)$").unwrap();
    let (mut comments, mut fragments) = (0, Vec::new());
    for (path, text) in rust_files(&["src", "core", "tests", "benches", "launcher"]) {
        let mut continues = false;
        for (number, line) in text.lines().enumerate() {
            let said = comment.captures(line).map(|found| found[1].to_owned());
            if let Some(said) = said.as_deref().filter(|said| !continues && !said.is_empty()) {
                comments += 1;
                if OPENINGS.contains(&said.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default()) {
                    fragments.push(format!("{}:{}: {said}", path.display(), number + 1));
                }
            }
            continues = said.is_some();
        }
    }
    assert!(comments > 1000, "only {comments} comments were found");
    let share = fragments.len() as f64 / comments as f64;
    assert!(
        share < SHARE,
        "{:.1} % of {comments} comments open with a fragment:\n{}",
        share * 100.0,
        fragments.join("\n")
    );
}

#[test]
fn a_type_name_stands_in_one_file() {
    let declared = Regex::new(r"(?m)^[ \t]*(?:pub(?:\([^)]*\))?[ \t]+)?(?:struct|enum|trait|type)[ \t]+(\w+)").unwrap();
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in sources() {
        for found in declared.captures_iter(without_tests(&text)) {
            // `type Err` is the name that FromStr asks for, as `Output` is Future's.
            if !["Err", "Error", "Item", "Output", "Target", "Future", "Response", "Rejection"].contains(&&found[1])
                || !found[0].trim_start().starts_with("type")
            {
                files.entry(found[1].to_owned()).or_default().insert(path.display().to_string());
            }
        }
    }
    assert!(files.len() > 300, "only {} types were found", files.len());
    files.retain(|_, files| files.len() > 1);
    assert!(files.is_empty(), "one name, two things: {files:#?}");
}
