//! The documents and the module table hold. `UPDATE_DOCS=1` writes what is derived from the code.

mod circles;
mod notices;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use image_factory::model::Advice;
use image_factory::settings::{Spec, TABLE};
use image_factory::{engine, git, http, model, registry, secrets, store};
use regex::Regex;

pub fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).into()
}

pub fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Asserts that the file is `expected`, or makes it so.
fn derived(path: &str, expected: &str) {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(top().join(path), expected).unwrap();
    }
    assert!(read(path) == expected, "{path} is not up to date: run UPDATE_DOCS=1 cargo nextest run tidy");
}

/// Does what `derived` does, for the part between the comments `<!-- NAME -->` and `<!-- end of NAME -->`.
fn derived_part(path: &str, name: &str, part: &str) {
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let text = read(path);
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{path} has no {begin:?}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{path} has no {end:?}"));
    derived(path, &format!("{before}{begin}{part}{end}{after}"));
}

/// The files of production: no `foo/tests.rs`, and nothing in `foo/tests/`.
fn sources() -> Vec<(PathBuf, String)> {
    let is_test = |path: &Path| path.iter().any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs");
    rust_files(&["src", "core/src"]).into_iter().filter(|(path, _)| !is_test(path)).collect()
}

/// Every Rust file below these folders, its path from the top and its text.
pub fn rust_files(folders: &[&str]) -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            match path.is_dir() {
                true => walk(&path, found),
                false if path.extension().is_some_and(|extension| extension == "rs") => {
                    found.push((path.strip_prefix(top()).unwrap().into(), fs::read_to_string(&path).unwrap()));
                }
                false => {}
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        walk(&top().join(folder), &mut found);
    }
    found
}

/// `git/mirror.rs` of `core/src/git/mirror.rs`.
fn below_src(path: &Path) -> PathBuf {
    path.iter().skip_while(|part| *part != "src").skip(1).collect()
}

/// `cli` of `src/cli/serve.rs`, `app` of `src/app.rs`.
fn module_of(path: &Path) -> String {
    let path = below_src(path);
    path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").into()
}

fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default()
}

#[test]
fn modules_use_only_what_the_table_allows() {
    let row = Regex::new(r"(?m)^\| `([a-z]+)` \| [^|]+ \|([^|]*)\|$").unwrap();
    let architecture = read("ARCHITECTURE.md");
    let allowed: BTreeMap<&str, BTreeSet<&str>> = row
        .captures_iter(&architecture)
        .map(|c| {
            let (_, [module, uses]) = c.extract();
            (module, uses.split(',').map(str::trim).collect())
        })
        .collect();
    assert!(allowed.len() > 10, "the module table of ARCHITECTURE.md was not found");
    let order: Vec<&str> = row.captures_iter(&architecture).map(|c| c.extract::<2>().1[0]).collect();
    let core = order.iter().position(|module| *module == "container").unwrap();
    let uses = Regex::new(r"\b(?:crate|image_factory|factory_core)::(\w+|\{[^}]*\})").unwrap();
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let module = module_of(&path);
        if ["lib", "main"].contains(&module.as_str()) {
            continue;
        }
        if path.starts_with("core") != order[core..].contains(&module.as_str()) {
            wrong.push(format!("{} is not in the crate that the table says", path.display()));
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!("{module} is not in the table"));
            continue;
        };
        for capture in uses.captures_iter(without_tests(&text)) {
            for used in capture[1].trim_matches(['{', '}']).split(',') {
                let used = used.trim().split("::").next().unwrap();
                // A macro that is exported stands at the root of its crate.
                let is_macro = used == "words";
                let fine = is_macro
                    || used == module
                    || used.is_empty()
                    || allowed.contains(used)
                    || allowed.contains("everything");
                if !fine {
                    wrong.push(format!("{} uses {used}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The programs whose APIs the daemon speaks. Some are still to come.
const DIALECTS: [&str; 4] = ["totem", "conveyor", "generator", "compose_ci"];

#[test]
fn a_dialect_uses_no_other_dialect() {
    for (path, text) in sources() {
        for own in DIALECTS.iter().filter(|dialect| path.starts_with(format!("src/http/{dialect}"))) {
            for other in DIALECTS.iter().filter(|dialect| *dialect != own) {
                let uses = Regex::new(&format!(r"\b(?:http|super)::\{{?[^;]*\b{other}\b")).unwrap();
                assert!(!uses.is_match(without_tests(&text)), "{} uses the dialect {other}", path.display());
            }
        }
    }
}

#[test]
fn the_model_does_no_io_and_only_process_starts_programs() {
    for (path, text) in sources() {
        let (module, text) = (module_of(&path), without_tests(&text));
        if module == "model" {
            for word in ["std::fs", "tokio::", "std::net", "std::io"] {
                assert!(!text.contains(word), "{} uses {word}", path.display());
            }
        }
        if module != "process" {
            assert!(!text.contains("process::Command"), "{} starts a program", path.display());
        }
    }
}

#[test]
fn every_setting_is_in_the_documents() {
    let mut text = String::new();
    let mut group = "";
    for spec in TABLE {
        if spec.group != group {
            group = spec.group;
            text += &format!("\n### {group}\n\n| setting | default | example | meaning |\n|---|---|---|---|\n");
        }
        let aliases: String = spec.aliases.iter().map(|alias| format!(", `{alias}`")).collect();
        let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
        let secret = if spec.secret { " *Secret.*" } else { "" };
        let live = if spec.live { " *Reload.*" } else { "" };
        text += &format!(
            "| `{}`{aliases} | {} | {} | {}{secret}{live} |\n",
            spec.name,
            code(spec.default),
            code(spec.example),
            spec.meaning.trim()
        );
    }
    derived_part("docs/settings.md", "settings", &format!("{text}\n"));
}

#[test]
fn every_message_is_in_the_documents() {
    let rooms = [
        ("Classes of failures", model::advice()),
        ("Answers of the API", http::advice()),
        ("Failures of Git", git::advice()),
        ("Failures of the engine, and of registries at a build or push", engine::advice()),
        ("Registries, as `image-factory doctor` asks them", registry::advice()),
        ("Secrets", secrets::advice()),
        ("The data folder", store::advice()),
    ];
    let mut text = String::new();
    for (heading, rows) in rooms {
        text +=
            &format!("\n### {heading}\n\n| code | message | what is the matter | what to do |\n|---|---|---|---|\n");
        // Several texts with one cause stand in one row.
        for rows in rows.chunk_by(|a, b| (a.code, a.cause, a.cure) == (b.code, b.cause, b.cure)) {
            let Advice { code, cause, cure, .. } = rows[0];
            let code = if code.is_empty() { String::new() } else { format!("`{code}`") };
            let messages = rows.iter().map(|row| cell(row.text)).collect::<Vec<_>>().join("<br>");
            text += &format!("| {code} | {messages} | {} | {} |\n", sentence(cause), sentence(cure));
        }
    }
    derived_part("docs/troubleshooting.md", "messages", &format!("{text}\n"));
}

/// Text as it can stand in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;").replace('*', "\\*")
}

/// A cell that begins with a capital letter and ends with a full stop.
fn sentence(text: &str) -> String {
    // A name such as `dockerRepoBase` stays as it is.
    let is_name = text.split(' ').next().is_some_and(|word| word.chars().skip(1).any(char::is_uppercase));
    let mut letters = text.chars();
    let first = letters.next().into_iter();
    let first: String = if is_name { first.collect() } else { first.flat_map(char::to_uppercase).collect() };
    let end = if text.is_empty() || text.ends_with(['.', '!', '?']) { "" } else { "." };
    cell(&format!("{first}{}{end}", letters.as_str()))
}

#[test]
fn the_sample_settings_have_every_setting() {
    let mut sample = String::from(
        "# Settings of Image Factory; the defaults are shown. Flags and the environment beat this file.\n\
         # Secrets do not belong here: name a file with *_file, or use the environment or systemd's credentials.\n",
    );
    for Spec { name, default, secret, meaning, .. } in TABLE {
        let key = name.to_ascii_lowercase();
        let line = match (secret, default.parse::<u64>()) {
            (true, _) => format!("{key}_file = \"/etc/image-factory/{}\"", key.replace('_', "-")),
            (false, Ok(number)) => format!("{key} = {number}"),
            (false, Err(_)) => format!("{key} = \"{default}\""),
        };
        sample += &format!("\n# {}\n# {line}\n", meaning.trim());
    }
    derived("etc/image-factory.toml", &sample);
}

#[test]
fn every_route_is_in_the_api_document() {
    let route = Regex::new(r#"\.route\(\s*"([^"]+)",\s*([^;\n]*)"#).unwrap();
    let method = Regex::new(r"\b(get|post)\(").unwrap();
    let api = read("api.md");
    let (_, table) = api.split_once("<!-- routes -->").unwrap();
    let (table, _) = table.split_once("<!-- end of routes -->").unwrap();
    let mut seen = 0;
    for (path, text) in sources().iter().filter(|(path, _)| path.starts_with("src/http")) {
        for capture in route.captures_iter(without_tests(text)) {
            let handlers = capture[2].split(".route(").next().unwrap();
            for method in method.captures_iter(handlers) {
                seen += 1;
                let row = format!("| `{} {}", method[1].to_uppercase(), capture[1].replace("{*", "{"));
                assert!(table.contains(&row), "{}: {row} is not in the table of routes in api.md", path.display());
            }
        }
    }
    assert!(seen > 20, "the routes were not found");
}

#[test]
fn each_fuzz_target_is_listed_and_has_a_seed() {
    let names = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(top().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let targets = names("fuzz/fuzz_targets");
    let manifest: toml::Table = read("fuzz/Cargo.toml").parse().unwrap();
    let listed = manifest["bin"].as_array().unwrap().iter().map(|bin| bin["name"].as_str().unwrap().to_owned());
    assert_eq!(listed.collect::<BTreeSet<_>>(), targets);
    assert_eq!(names("fuzz/seeds"), targets);
    for target in targets {
        assert!(!names(&format!("fuzz/seeds/{target}")).is_empty(), "fuzz/seeds/{target}");
    }
}
