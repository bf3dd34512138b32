//! The documents keep their promises: links lead somewhere, pages are short, versions and settings are those of the
//! code, and every command works.

mod commands;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use image_factory::settings::TABLE;
use regex::Regex;

use crate::tidy::{read, top};

/// Pages that are looked up and not read, which may be longer.
const LOOKUPS: [&str; 4] = ["api.md", "CHANGELOG.md", "docs/settings.md", "docs/troubleshooting.md"];

/// A document: its path below the top, and its text.
struct Document {
    path: PathBuf,
    text: String,
}

/// Every document, those of `docs/` included, in the order of their paths.
fn documents() -> Vec<Document> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() && path.starts_with(top().join("docs")) {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut paths = Vec::new();
    walk(&top(), &mut paths);
    walk(&top().join("docs"), &mut paths);
    paths.sort();
    let document = |path: PathBuf| Document {
        text: fs::read_to_string(&path).unwrap(),
        path: path.strip_prefix(top()).unwrap().into(),
    };
    paths.into_iter().map(document).collect()
}

impl Document {
    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Each line with its number and whether it is in a code block; the fences are.
    fn lines(&self) -> impl Iterator<Item = (usize, bool, &str)> {
        let mut in_code = false;
        self.text.lines().enumerate().map(move |(at, line)| {
            let is_fence = line.starts_with("```");
            let inside = in_code || is_fence;
            in_code ^= is_fence;
            (at + 1, inside, line)
        })
    }

    /// The anchors of its headings, as GitHub makes them.
    fn anchors(&self) -> BTreeSet<String> {
        let headings = self.lines().filter(|(_, in_code, line)| !in_code && line.starts_with('#'));
        headings.map(|(.., line)| anchor(line.trim_start_matches('#').trim())).collect()
    }
}

fn anchor(heading: &str) -> String {
    let kept = heading.to_lowercase().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).collect::<String>();
    kept.replace(' ', "-")
}

#[test]
fn pages_and_lines_are_short() {
    let mut wrong = Vec::new();
    for document in documents() {
        let limit = match document.name() {
            "README.md" => 9 << 10,
            "ARCHITECTURE.md" => 12 << 10,
            name if LOOKUPS.contains(&name) => usize::MAX,
            _ => 10 << 10,
        };
        if document.text.len() > limit {
            wrong.push(format!("{} has {} bytes, {limit} are allowed", document.name(), document.text.len()));
        }
        for (at, in_code, line) in document.lines() {
            let is_free = in_code || line.starts_with('|') || line.starts_with("<!--");
            if !is_free && line.chars().count() > 120 {
                wrong.push(format!("{}:{at} has more than 120 characters", document.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An indented block has no language, so nobody would see that it has commands in it.
#[test]
fn code_blocks_have_a_language() {
    let mut wrong = Vec::new();
    for document in documents() {
        let mut opens = true;
        for (at, in_code, line) in document.lines() {
            if line.starts_with("```") {
                if opens == (line == "```") {
                    wrong.push(format!("{}:{at} is a fence without a language", document.name()));
                }
                opens = !opens;
            } else if !in_code && line.starts_with("    ") {
                wrong.push(format!("{}:{at} is indented like code", document.name()));
            }
        }
        assert!(opens, "{} ends in a code block", document.name());
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn links_lead_to_files_and_headings() {
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let documents = documents();
    let anchors: BTreeMap<PathBuf, BTreeSet<String>> =
        documents.iter().map(|document| (top().join(&document.path), document.anchors())).collect();
    let mut wrong = Vec::new();
    for document in &documents {
        for (at, in_code, line) in document.lines() {
            for capture in link.captures_iter(line).filter(|_| !in_code) {
                let target = &capture[1];
                if target.starts_with("http://") || target.starts_with("https://") {
                    continue;
                }
                let (file, heading) = target.split_once('#').map_or((target, None), |(file, h)| (file, Some(h)));
                let file = match file {
                    "" => top().join(&document.path),
                    file => top().join(document.path.parent().unwrap()).join(file),
                };
                let found = file.canonicalize().ok();
                let has_heading = |path: &PathBuf| {
                    heading.is_none_or(|heading| anchors.get(path).is_some_and(|known| known.contains(heading)))
                };
                if !found.as_ref().is_some_and(has_heading) {
                    wrong.push(format!("{}:{at} leads to {target}", document.name()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A word in capitals with `_` is a setting; others are listed here, by what they are.
#[test]
fn settings_in_documents_exist() {
    const OTHERS: [&str; 57] = [
        // Variables of other programs, and of our command line.
        "AWS_",
        "BUILDER_IMAGE",
        "BUILDKIT_CONTEXT_KEEP_GIT_DIR",
        "BUILDKIT_STEP_LOG_MAX_SPEED",
        "DOCKER_MIN_API_VERSION",
        "COMPOSE_PROJECT_NAME",
        "DATABASE_URL",
        "GIT_PROTOCOL",
        "HOST_IP",
        "BASE_PATH",
        "BUILDKIT_CACHE_MOUNT_NS",
        "BUILD_CMD",
        "DOCKER_REGISTRY",
        "LOG_LEVEL",
        "REGISTRY_EMAIL",
        "REGISTRY_PASS",
        "REGISTRY_USER",
        "HTTPS_PROXY",
        "HTTP_PROXY",
        "IMAGE_FACTORY_CACERT",
        "IMAGE_FACTORY_TOKEN",
        "RENEWED_LINEAGE",
        "CAP_NET_BIND_SERVICE",
        "IMAGE_FACTORY_URL",
        "NO_PROXY",
        "SOURCE_DATE_EPOCH",
        "SSH_HOST_KEY",
        "SWF_ENABLED",
        "XDG_STATE_HOME",
        // Variables of the build and the tests.
        "CRASH_KILLS",
        "CRASH_SEED",
        "ENGINE_26",
        "INSTA_UPDATE",
        "UPDATE_DOCS",
        // Any setting, and any name in an example.
        "CODECOV_TOKEN",
        "COMPOSE_PROJECT_NAME",
        "NAME_FILE",
        "ENC_PASSPHRASE_FILE",
        // Codes of errors, and words of protocols.
        "OBJECT_REQUIRED",
        "INVALID_TYPE",
        "MAX_LENGTH",
        "INVALID_FORMAT",
        "ENHANCE_YOUR_CALM",
        "IMAGE_BUILD_FAILED",
        "BAD_REQUEST",
        "AT_ONCE",
        "CASE_BLIND",
        "RFC_3339",
        "O_EXCL",
        "SCM_RIGHTS",
        "SKIP_LOCKED",
        "CARGO_TARGET_DIR",
        "SMTP_AUTH",
        "IP_ADDRESS",
        "MOVED_PERMANENTLY",
        "POST_BUILD",
        "NOT_FOUND",
    ];
    let known: BTreeSet<&str> = TABLE
        .iter()
        .flat_map(|spec| std::iter::once(spec.name).chain(spec.aliases.iter().copied()))
        .chain(OTHERS)
        .collect();
    let word = Regex::new(r"\b[A-Z][A-Z0-9]*_[A-Z0-9_]*").unwrap();
    let mut wrong = Vec::new();
    for document in documents() {
        for (at, _, line) in document.lines() {
            for found in word.find_iter(line).filter(|found| !known.contains(found.as_str())) {
                wrong.push(format!("{}:{at}: {} is no setting", document.name(), found.as_str()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn named_source_files_exist() {
    let name = Regex::new(r"`([a-z0-9_/.-]+\.rs|(?:src|tests|scripts|systemd)/[A-Za-z0-9_/.-]+)`").unwrap();
    let bases = ["", "src", "core/src", "core/src/git", "core/src/engine"];
    let mut wrong = Vec::new();
    for document in documents().iter().filter(|document| document.name() != "CHANGELOG.md") {
        for (at, _, line) in document.lines() {
            for capture in name.captures_iter(line) {
                if !bases.iter().any(|base| top().join(base).join(&capture[1]).exists()) {
                    wrong.push(format!("{}:{at}: {} does not exist", document.name(), &capture[1]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// `| library | version | …` of the README's last section, against Cargo.toml.
#[test]
fn the_libraries_have_their_versions() {
    let cargo: toml::Table = read("Cargo.toml").parse().unwrap();
    let dependencies = cargo["workspace"]["dependencies"].as_table().unwrap();
    let version = |name: &str| {
        let dependency = dependencies.get(name)?;
        Some(dependency.as_str().or_else(|| dependency["version"].as_str()).unwrap().to_owned())
    };
    let readme = read("README.md");
    let (_, section) = readme.split_once("## The libraries that were asked for").unwrap();
    let row = Regex::new(r"(?m)^\| ([a-z0-9_-]+) \| (\S+) \|").unwrap();
    let rows: BTreeMap<&str, &str> =
        row.captures_iter(section).map(|c| c.extract()).map(|(_, [a, b])| (a, b)).collect();
    for name in [
        "etcd-client",
        "tokio",
        "axum",
        "bollard",
        "sequoia-openpgp",
        "ssh-key",
        "base64",
        "serde",
        "reqwest",
        "syslog",
    ] {
        assert!(rows.contains_key(name), "{name} is not in the table");
    }
    for (name, said) in rows.into_iter().filter(|(name, _)| *name != "library") {
        assert_eq!(version(name).as_deref().unwrap_or("–"), said, "the version of {name}");
    }
}

#[test]
fn the_first_settings_have_their_defaults() {
    let readme = read("README.md");
    let row = Regex::new(r"(?m)^\| `([A-Z_]+)` \| (`[^`]*`)? ?\|").unwrap();
    let mut seen = 0;
    for capture in row.captures_iter(&readme) {
        let spec = TABLE.iter().find(|spec| spec.name == &capture[1]).unwrap();
        let default = capture.get(2).map_or("", |default| default.as_str().trim_matches('`'));
        assert_eq!(default, spec.default, "{}", spec.name);
        seen += 1;
    }
    assert_eq!(seen, 8, "settings of a first user");
}
