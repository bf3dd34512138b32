//! Submodules: entries of mode 160000, whose repositories `.gitmodules` names (gitmodules(5)). It is whatever the
//! committer wrote, so all of it is checked before any of it is used; only what Git would do with it is done.

mod place;
mod url;

use std::collections::BTreeMap;

use super::command::local;
use super::errors::{Trouble, last_words};
use super::{Entry, GitConfig, GitError, Kind, Mirror, Oid, path_order};
use crate::model::LogSink;
pub(super) use place::{Place, Superproject};
pub(super) use url::split;

/// A submodule of a tree, as it is named there; `url` is not checked yet.
#[derive(Debug)]
pub(super) struct Submodule {
    pub name: String,
    /// In the repository that has it.
    pub path: Vec<u8>,
    pub commit: Oid,
    pub url: String,
}

/// What `.gitmodules` says of one name.
#[derive(Debug, Default, PartialEq)]
struct Section {
    path: Option<Vec<u8>>,
    url: Option<String>,
    update: Option<String>,
}

/// The submodules in a repository's entries. The log is told of those that stay empty; `prefix` is where in the snapshot
/// the repository is.
pub(super) async fn read(
    config: &GitConfig,
    mirror: &Mirror,
    entries: &[Entry],
    prefix: &[u8],
    log: &dyn LogSink,
) -> Result<Vec<Submodule>, Trouble> {
    let gitlinks: Vec<_> = entries.iter().filter(|entry| entry.kind == Kind::Gitlink).collect();
    if gitlinks.is_empty() {
        return Ok(vec![]);
    }
    let sections = match find(entries, b".gitmodules") {
        Some(Entry { kind: Kind::File | Kind::Exec, oid, .. }) => sections(&listing(config, mirror, oid).await?),
        Some(_) => return Err(GitError::refused(".gitmodules is no file: make it one").into()),
        None => BTreeMap::new(),
    };
    for (name, section) in &sections {
        check(name, section, entries).map_err(|why| GitError::refused(format!("submodule {name:?} {why}")))?;
    }
    let mut found = Vec::new();
    for Entry { path, oid, .. } in gitlinks {
        let shown = [prefix, path].concat();
        let shown = String::from_utf8_lossy(&shown);
        let is_here = |section: &Section| section.path.as_ref() == Some(path);
        let mut here = sections.iter().filter(|(_, section)| is_here(section));
        let empty = match (here.next(), here.next()) {
            (Some((one, a)), Some((other, b))) if a != b => {
                let message = format!(
                    "submodules {one:?} and {other:?} are both at {}: correct .gitmodules",
                    shown.escape_debug()
                );
                return Err(GitError::refused(message).into());
            }
            (None, _) => "is not in .gitmodules",
            (Some((_, Section { update: Some(update), .. })), _) if update == "none" => "has `update = none`",
            (Some((name, section)), _) => {
                let Some(url) = section.url.clone() else {
                    let message = format!("submodule {name:?} has no url in .gitmodules: add it");
                    return Err(GitError::refused(message).into());
                };
                found.push(Submodule { name: name.clone(), path: path.clone(), commit: *oid, url });
                continue;
            }
        };
        log.write(format!("The submodule at {} {empty}: it stays empty\n", shown.escape_debug()).as_bytes());
    }
    Ok(found)
}

fn find<'a>(entries: &'a [Entry], path: &[u8]) -> Option<&'a Entry> {
    entries.binary_search_by(|entry| path_order(&entry.path, path)).ok().and_then(|at| entries.get(at))
}

/// The file in Git's own reading: `KEY<newline>VALUE<nul>`. Includes are not followed.
async fn listing(config: &GitConfig, mirror: &Mirror, oid: &Oid) -> Result<Vec<u8>, Trouble> {
    let args = ["config", "-z", "--no-includes", "--blob", &oid.to_string(), "--list"];
    let finished = local(config, &mirror.path).args(args).output().await.map_err(GitError::from)?;
    if finished.status.success() {
        return Ok(finished.stdout);
    }
    let syntax = finished.stderr.lines().find_map(|line| line.split_once("bad config line ")?.1.split(' ').next());
    match syntax {
        Some(line) => Err(GitError::refused(format!(".gitmodules cannot be read: line {line} is wrong")).into()),
        None => Err(Trouble::Damaged(last_words(&finished.stderr).into())),
    }
}

/// By name. As in Git, the last value counts, and what is neither path, url nor update is not for a reader of a commit
/// (`branch`, `ignore`) or not for us (`active`, `fetchRecurseSubmodules`).
fn sections(listing: &[u8]) -> BTreeMap<String, Section> {
    let mut sections = BTreeMap::<String, Section>::new();
    for item in listing.split(|&b| b == 0) {
        let Some(newline) = item.iter().position(|&b| b == b'\n') else { continue };
        let (key, value) = (String::from_utf8_lossy(&item[..newline]), &item[newline + 1..]);
        let Some((name, key)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.')) else { continue };
        let section = sections.entry(name.chars().take(200).collect()).or_default();
        let text = || Some(String::from_utf8_lossy(value).into_owned());
        match key {
            "path" => section.path = Some(value.into()),
            "url" => section.url = text(),
            "update" => section.update = text(),
            _ => {}
        }
    }
    sections
}

/// Refuses what no honest `.gitmodules` has, also where no entry of the tree makes use of it.
fn check(name: &str, section: &Section, entries: &[Entry]) -> Result<(), String> {
    improper(name.as_bytes()).map_err(|why| format!("is refused: its name {why}"))?;
    if let Some(path) = &section.path {
        let shown = String::from_utf8_lossy(path);
        improper(path).map_err(|why| format!("is refused: its path {shown:?} {why}"))?;
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut parents = slashes.filter_map(|(at, _)| find(entries, &path[..at]));
        if let Some(link) = parents.find(|entry| entry.kind == Kind::Symlink) {
            let link = String::from_utf8_lossy(&link.path);
            return Err(format!("is refused: its path {shown:?} goes through the symlink {link:?}"));
        }
    }
    match &section.update {
        Some(update) if update.starts_with('!') => Err("is refused: its `update` is a command".into()),
        _ => Ok(()),
    }
}

fn improper(path: &[u8]) -> Result<(), &'static str> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_value_counts() {
        let listing = b"submodule.a.b.path\nlibs/a\0submodule.a.b.url\nfirst\0submodule.a.b.url\nline\nbreak\0\
            submodule.a.b.active\0core.path\nx\0submodule.path\ny\0submodule.c.update\nnone\0";
        let read = sections(listing);
        assert_eq!(read.keys().collect::<Vec<_>>(), ["a.b", "c"]);
        let (path, url) = (Some(b"libs/a".to_vec()), Some("line\nbreak".to_owned()));
        assert_eq!(read["a.b"], Section { path, url, update: None });
        assert_eq!(read["c"].update.as_deref(), Some("none"));
    }

    proptest! {
        #[test]
        fn any_listing_is_survived(bytes: Vec<u8>) {
            sections(&bytes);
        }

        #[test]
        fn a_proper_path_stays_inside(path in "[a./-]{0,8}") {
            if improper(path.as_bytes()).is_ok() {
                prop_assert!(!path.starts_with(['/', '-']) && path.split('/').all(|part| part != ".."));
            }
        }
    }
}
