//! Submodules: entries of mode 160000, whose repositories `.gitmodules` names (gitmodules(5)). The committer may write
//! anything there, so all of the file is checked before any of it is used, and only Git's own rules are applied.

mod place;
mod url;

use std::collections::BTreeMap;

use super::bounds::GIT_FILE;
use super::command::local;
use super::errors::{LARGE_GITMODULES, NO_SUBMODULE_URL, NO_SUBMODULE_VALUE, RepoError, WRONG_GITMODULES, last_words};
use super::tree::attributes::run_with_input;
use super::tree::blobs::ObjectReader;
use super::{Entry, EntryKind, GitConfig, GitError, Mirror, Oid, PathEnd, PathWalk, WalkStep, path_order};
use crate::model::LogSink;
pub(super) use place::{SubmoduleSource, Superproject};
pub(super) use url::split;

/// A submodule of a tree, as `.gitmodules` names it; `url` is not checked yet.
#[derive(Debug)]
pub(super) struct Submodule {
    pub name: String,
    /// Path in the repository that contains the submodule.
    pub path: Vec<u8>,
    pub commit: Oid,
    pub url: String,
}

/// The values of one name in `.gitmodules`.
#[derive(Debug, Default, PartialEq)]
struct GitmodulesSection {
    path: Option<Vec<u8>>,
    url: Option<String>,
    update: Option<String>,
    /// Number of the line that set the path.
    line: usize,
}

/// Returns the submodules among a repository's entries. The log names those that stay empty. `prefix` is the
/// repository's path in the snapshot.
pub(super) async fn read(
    config: &GitConfig,
    mirror: &Mirror,
    entries: &[Entry],
    prefix: &[u8],
    log: &dyn LogSink,
) -> Result<Vec<Submodule>, RepoError> {
    let gitlinks: Vec<_> = entries.iter().filter(|entry| entry.kind == EntryKind::Gitlink).collect();
    if gitlinks.is_empty() {
        return Ok(vec![]);
    }
    let mut reader = ObjectReader::start(config, mirror)?;
    let sections = match gitmodules(entries, &mut reader).await? {
        PathEnd::File { at, .. } => match &entries[at] {
            Entry { size: ..=GIT_FILE, oid, .. } => sections(&listing(config, mirror, reader.read(oid).await?).await?),
            Entry { size, .. } => {
                return Err(LARGE_GITMODULES.error(&[size, &GIT_FILE]).into());
            }
        },
        PathEnd::Nothing => Ok(BTreeMap::new()),
        PathEnd::Folder => Err(".gitmodules is a folder: make it a file".into()),
        PathEnd::Submodule => Err(".gitmodules is a submodule: make it a file".into()),
        PathEnd::BrokenLink(lost) => Err(format!(".gitmodules cannot be read: {lost}; make it a file")),
    };
    let sections = sections.map_err(GitError::refused)?;
    for (name, section) in &sections {
        check(name, section, entries).map_err(|why| GitError::refused(format!("submodule {name:?} {why}")))?;
    }
    let mut found = Vec::new();
    for Entry { path, oid, .. } in gitlinks {
        let shown = [prefix, path].concat();
        let shown = String::from_utf8_lossy(&shown);
        let is_here = |section: &GitmodulesSection| section.path.as_ref() == Some(path);
        let here = sections.iter().filter(|(_, section)| is_here(section));
        let empty = match here.max_by_key(|(_, section)| section.line) {
            None => "is not in .gitmodules",
            Some((_, GitmodulesSection { update: Some(update), .. })) if update == "none" => "has `update = none`",
            Some((name, section)) => {
                let Some(url) = section.url.clone() else {
                    return Err(NO_SUBMODULE_URL.error(&[&format!("{name:?}")]).into());
                };
                found.push(Submodule { name: name.clone(), path: path.clone(), commit: *oid, url });
                continue;
            }
        };
        log.write(format!("The submodule at {} {empty}: it stays empty\n", shown.escape_debug()).as_bytes());
    }
    Ok(found)
}

/// Finds `.gitmodules`, which may be a link. Git checks out no link of this name, because something could be written
/// through it; reading through it is safe.
async fn gitmodules(entries: &[Entry], reader: &mut ObjectReader) -> Result<PathEnd, GitError> {
    let mut walk = PathWalk::new(b".gitmodules");
    loop {
        match walk.step(entries) {
            WalkStep::End(found) => return Ok(found),
            WalkStep::Link(at) => {
                if let Some(found) = walk.follow(&reader.read(&entries[at].oid).await?) {
                    return Ok(found);
                }
            }
        }
    }
}

fn find<'a>(entries: &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    entries.binary_search_by(|entry| path_order(&entry.path, path)).ok().and_then(|at| entries.get(at))
}

/// Lists the file by Git's own reading: `KEY<newline>VALUE<nul>`, or `KEY<nul>` without a value. Includes are not
/// followed. (`git config --blob` differs from reading a file: it takes the byte 0xFF for the end, and a byte order
/// mark for an error. Seen with Git 2.39 and 2.47.)
async fn listing(config: &GitConfig, mirror: &Mirror, content: Vec<u8>) -> Result<Vec<u8>, RepoError> {
    let args = ["config", "-z", "--no-includes", "--file", "-", "--list"];
    let finished = run_with_input(local(config, &mirror.path).args(args), content).await?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    let syntax = finished.stderr.lines().find_map(|line| line.split_once("bad config line ")?.1.split(' ').next());
    match syntax {
        Some(line) => Err(WRONG_GITMODULES.error(&[&line]).into()),
        None => Err(GitError::refused(format!(".gitmodules cannot be read: {}", last_words(&finished.stderr))).into()),
    }
}

/// Groups the values by name. The last value counts, as in Git. Keys other than path, url and update do not matter for
/// reading a commit (`branch`, `ignore`) or for us (`active`, `fetchRecurseSubmodules`).
fn sections(listing: &[u8]) -> Result<BTreeMap<String, GitmodulesSection>, String> {
    let mut sections = BTreeMap::<String, GitmodulesSection>::new();
    for (line, item) in listing.split(|&b| b == 0).enumerate() {
        let newline = item.iter().position(|&b| b == b'\n');
        let (key, value) = (&item[..newline.unwrap_or(item.len())], newline.map(|at| &item[at + 1..]));
        let key = String::from_utf8_lossy(key);
        let Some((name, key)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        if !["path", "url", "update"].contains(&key) {
            continue;
        }
        let Some(value) = value else {
            return Err(NO_SUBMODULE_VALUE.text(&[&format!("{name:?}"), &key]));
        };
        let section = sections.entry(name.chars().take(200).collect()).or_default();
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match key {
            "path" => (section.path, section.line) = (Some(value.into()), line),
            "url" => section.url = text(),
            _ => section.update = text(),
        }
    }
    Ok(sections)
}

/// Refuses what no honest `.gitmodules` contains, even if no entry of the tree uses it.
fn check(name: &str, section: &GitmodulesSection, entries: &[Entry]) -> Result<(), String> {
    check_path(name.as_bytes()).map_err(|why| format!("is refused: its name {why}"))?;
    if let Some(path) = &section.path {
        let shown = String::from_utf8_lossy(path);
        check_path(path).map_err(|why| format!("is refused: its path {shown:?} {why}"))?;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut parents = slashes.filter_map(|(at, _)| find(entries, &path[..at]));
        if let Some(link) = parents.find(|entry| entry.kind == EntryKind::Symlink) {
            let link = String::from_utf8_lossy(&link.path);
            return Err(format!("is refused: its path {shown:?} goes through the symlink {link:?}"));
        }
    }
    match &section.update {
        Some(update) if update.starts_with('!') => Err("is refused: its `update` is a command".into()),
        Some(update) if !["checkout", "merge", "none", "rebase"].contains(&update.as_str()) => {
            Err(format!("has `update = {update}`, which Git does not know: correct .gitmodules"))
        }
        _ => Ok(()),
    }
}

fn check_path(path: &[u8]) -> Result<(), &'static str> {
    let mut parts = path.split(|&b| b == b'/');
    match path {
        [] => Err("is empty"),
        [b'-', ..] => Err("starts with '-'"),
        [b'/', ..] => Err("is absolute"),
        _ if parts.clone().any(|part| part == b"..") => Err("leaves the repository"),
        _ if parts.any(|part| part.eq_ignore_ascii_case(b".git")) => Err("has a part .git"),
        _ => Ok(()),
    }
}

#[cfg(fuzzing)]
pub(super) fn fuzz(listing: &[u8]) {
    for (name, section) in sections(listing).iter().flatten() {
        let _ = check(name, section, &[]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_counts() {
        let listing = b"submodule.a.b.path\nlibs/a\0submodule.a.b.url\nfirst\0submodule.a.b.url\nline\nbreak\0\
            submodule.a.b.active\0core.path\nx\0submodule.path\ny\0submodule.c.update\nnone\0";
        let read = sections(listing).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a.b", "c"]);
        let (path, url) = (Some(b"libs/a".to_vec()), Some("line\nbreak".to_owned()));
        assert_eq!(read["a.b"], GitmodulesSection { path, url, update: None, line: 0 });
        assert_eq!(read["c"].update.as_deref(), Some("none"));
        assert!(sections(b"submodule.a.url\0").unwrap_err().contains("\"a\" has no value for url"));
    }

    proptest! {
        #[test]
        fn any_listing_is_survived(bytes: Vec<u8>) {
            let _ = sections(&bytes);
        }

        #[test]
        fn a_proper_path_stays_inside(path in "[a./-]{0,8}") {
            if check_path(path.as_bytes()).is_ok() {
                prop_assert!(!path.starts_with(['/', '-']) && path.split('/').all(|part| part != ".."));
            }
        }
    }
}
