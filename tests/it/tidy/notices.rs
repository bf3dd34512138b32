//! THIRD-PARTY-NOTICES.txt: the licences of what is linked into the binary, from Cargo.lock and the crates' own files.
//!
//! cargo-about writes such a file, too. It is not used, because it takes minutes to compile, and who updates a
//! dependency would need it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{derived, read, top};

/// The systems that packages and images are made for.
const PLATFORMS: [&str; 2] = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"];
/// The beginnings of the names of files with a licence or a notice.
const NAMES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];
const RULE: &str = "================================================================================\n";

const HEAD: &str = "\
Third-party notices of Image Factory
====================================

Image Factory itself is under the Apache License 2.0. The libraries below are linked into its binaries, each
under the licence behind its name. Their texts follow the list. Rust's standard library is linked in, too
(MIT OR Apache-2.0, https://www.rust-lang.org/policies/licenses), and SQLite, which is in the public domain.

The exact sources: Cargo.lock, which lies beside this file in the packages, names each library's version and
the SHA-256 of its source. `make sources` in Image Factory's sources makes one archive of them and of all
libraries' sources; whoever passes on the binary passes on that archive, or offers it.

Two libraries are under the LGPL. sequoia-openpgp (with buffered-reader) is linked statically: to use a
changed one, name its folder under [patch.crates-io] in Cargo.toml and run `make build`. Nettle's C library
(libnettle, libhogweed) and GMP are linked dynamically: replace the packages of the system.

";

struct Library {
    name: String,
    license: String,
    repository: String,
    /// The texts in the crate's folder, by the names of their files.
    texts: BTreeMap<String, String>,
}

impl Library {
    fn of(package: &Value) -> Self {
        let text = |field: &str| package[field].as_str().unwrap_or_default().to_owned();
        let folder = Path::new(package["manifest_path"].as_str().unwrap()).parent().unwrap();
        let mut texts = BTreeMap::new();
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file()) {
            let name = entry.file_name().into_string().unwrap();
            if NAMES.iter().any(|begin| name.to_uppercase().starts_with(begin)) {
                let text = String::from_utf8_lossy(&fs::read(entry.path()).unwrap()).into_owned();
                let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
                texts.insert(name, lines.join("\n").trim_matches('\n').to_owned());
            }
        }
        let name = format!("{} {}", text("name"), text("version"));
        let license: Vec<_> = text("license").split('/').map(|name| name.trim().to_owned()).collect();
        let repository = text("repository").trim_end_matches('/').trim_end_matches(".git").to_owned();
        Self { name, license: license.join(" OR "), repository, texts }
    }

    /// True if the Apache License alone is enough. Its text then stands once for all of them.
    fn is_apache(&self) -> bool {
        !self.license.contains(" AND ") && self.license.split(" OR ").any(|license| license == "Apache-2.0")
    }
}

/// Returns everything that normal dependencies lead to from our packages.
fn libraries() -> Vec<Library> {
    let mut metadata = Command::new(env!("CARGO"));
    metadata.current_dir(top()).args(["metadata", "--format-version=1", "--locked"]);
    let output = metadata.args(PLATFORMS.map(|platform| format!("--filter-platform={platform}"))).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by_id = |list: &Value| -> BTreeMap<String, Value> {
        let entries = list.as_array().unwrap().iter();
        entries.map(|entry| (entry["id"].as_str().unwrap().to_owned(), entry.clone())).collect()
    };
    let (packages, nodes) = (by_id(&metadata["packages"]), by_id(&metadata["resolve"]["nodes"]));
    let own: Vec<_> = metadata["workspace_members"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let (mut found, mut left) = (BTreeMap::new(), own.clone());
    while let Some(id) = left.pop() {
        if found.insert(id, Library::of(&packages[id])).is_none() {
            let is_normal =
                |used: &&Value| used["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"].is_null());
            let used = nodes[id]["deps"].as_array().unwrap().iter().filter(is_normal);
            left.extend(used.map(|used| used["pkg"].as_str().unwrap()));
        }
    }
    found.retain(|id, _| !own.contains(id));
    let mut libraries: Vec<_> = found.into_values().collect();
    libraries.sort_by(|a, b| a.name.cmp(&b.name));
    libraries
}

/// Returns the texts that must come with the library. A crate without one has those of its neighbours in the repository.
fn texts_of<'a>(library: &'a Library, all: &'a [Library]) -> Vec<&'a str> {
    if library.is_apache() {
        let is_notice = |name: &str| name.to_uppercase().starts_with("NOTICE");
        return library.texts.iter().filter(|(name, _)| is_notice(name)).map(|(_, text)| text.as_str()).collect();
    }
    let is_neighbour = |other: &&Library| !other.texts.is_empty() && other.repository == library.repository;
    let source = Some(library).filter(|library| !library.texts.is_empty()).or_else(|| all.iter().find(is_neighbour));
    let source = source.unwrap_or_else(|| panic!("{} ({}) has no text of its licence", library.name, library.license));
    source.texts.values().map(String::as_str).collect()
}

#[test]
fn the_notices_are_those_of_the_linked_libraries() {
    let libraries = libraries();
    let mut text = HEAD.to_owned();
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for library in &libraries {
        text += &format!("{} ({}) {}\n", library.name, library.license, library.repository);
        for text in texts_of(library, &libraries) {
            users.entry(text).or_default().push(&library.name);
        }
    }
    let apache = read("LICENSE");
    text += &format!("\n{RULE}Every library above that names Apache-2.0 as enough:\n\n{}\n", apache.trim_matches('\n'));
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by(|a, b| a.1.cmp(&b.1));
    for (license, names) in users {
        text += &format!("\n{RULE}{}:\n\n{license}\n", names.join(", "));
    }
    derived("THIRD-PARTY-NOTICES.txt", &text);
}
