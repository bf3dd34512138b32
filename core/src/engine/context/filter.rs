//! Selects the entries of a tree that BuildKit gets. The sender applies BuildKit's include-patterns, exclude-patterns
//! and followpaths, here like `filter.go` of `github.com/tonistiigi/fsutil`.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use crate::git::{Entry, EntryKind, GitError, compute};

use super::follow_paths::{SymlinkTargets, follow, is_below, without_nested};
use super::pattern::{BadPattern, Matched, Matcher, PatternBounds};
use super::tree::Tree;

/// The paths that the engine asks for, from the request's metadata.
#[derive(Debug, Default)]
pub(in crate::engine) struct PathFilter {
    pub includes: Vec<Vec<u8>>,
    pub excludes: Vec<Vec<u8>>,
    pub follow: Vec<Vec<u8>>,
}

/// A directory above the current entry.
struct ParentDir {
    index: u32,
    included: Matched,
    excluded: Matched,
    is_chosen: bool,
}

/// Number of entries after which the time is looked at.
const LOOK: u32 = 64;

/// The end of a choice: its time, or the end of who waits for it.
struct ChoiceEnd {
    begun: Instant,
    left: CancellationToken,
    bounds: PatternBounds,
}

impl ChoiceEnd {
    fn check(&self, files: usize) -> Result<(), BadPattern> {
        match self.begun.elapsed() > self.bounds.time || self.left.is_cancelled() {
            true => Err(BadPattern::Late { files, time: self.bounds.time }),
            false => Ok(()),
        }
    }
}

/// Returns the indices of the entries that are sent, in fsutil's order, which is that of the entries. `of` says which
/// entries of the tree they are chosen from. Another thread chooses, which ends when this is dropped.
pub(in crate::engine) async fn choose(
    tree: &Arc<Tree>,
    of: fn(&Tree) -> &[Entry],
    filter: PathFilter,
) -> Result<Vec<u32>, ChoiceError> {
    tree.links().await?;
    let left = CancellationToken::new();
    let (_leave, tree) = (left.clone().drop_guard(), tree.clone());
    let chosen = compute(move || {
        let end = ChoiceEnd { begun: Instant::now(), left, bounds: tree.bounds };
        let none = SymlinkTargets::new();
        chosen(of(&tree), tree.known_links().unwrap_or(&none), &filter, &end)
    });
    Ok(chosen.await?)
}

/// Why nothing was chosen.
#[derive(Debug, thiserror::Error)]
pub(in crate::engine) enum ChoiceError {
    #[error(transparent)]
    Pattern(#[from] BadPattern),
    #[error(transparent)]
    Git(#[from] GitError),
}

fn chosen(
    entries: &[Entry],
    links: &SymlinkTargets,
    filter: &PathFilter,
    end: &ChoiceEnd,
) -> Result<Vec<u32>, BadPattern> {
    let mut includes = filter.includes.clone();
    if !filter.follow.is_empty()
        && let Some(found) = follow(entries, links, &filter.follow)?
    {
        includes.extend(found);
        includes.sort();
        includes = without_nested(includes).unwrap_or_default();
    }
    let matcher =
        |patterns: &[Vec<u8>]| (!patterns.is_empty()).then(|| Matcher::within(patterns, end.bounds)).transpose();
    let (include, exclude) = (matcher(&includes)?, matcher(&filter.excludes)?);
    if include.is_none() && exclude.is_none() {
        return Ok((0..entries.len() as u32).collect());
    }
    let plain_includes = include.as_ref().filter(|m| m.is_plain(false));
    let plain_excludes = exclude.as_ref().filter(|m| m.is_plain(true));
    let mut chosen = Vec::new();
    let mut parents: Vec<ParentDir> = Vec::new();
    let (mut included, mut excluded) = (Matched::new(), Matched::new());
    let (mut index, mut steps) = (0, 0u32);
    while let Some(entry) = entries.get(index) {
        if steps.is_multiple_of(LOOK) {
            end.check(entries.len())?;
        }
        steps = steps.wrapping_add(1);
        while parents.last().is_some_and(|parent| !is_below(&entry.path, &entries[parent.index as usize].path)) {
            parents.pop();
        }
        let parent = parents.last();
        let is_included = match &include {
            Some(m) => m.matches(&entry.path, parent.map_or(&[], |p| &p.included), &mut included)?,
            None => true,
        };
        let is_excluded = match &exclude {
            Some(m) => m.matches(&entry.path, parent.map_or(&[], |p| &p.excluded), &mut excluded)?,
            None => false,
        };
        let is_dir = entry.kind == EntryKind::Dir;
        // No pattern can match anything in the directory, so all of it is skipped.
        let is_skipped = is_dir
            && (!is_included && plain_includes.is_some_and(|m| !m.reaches_into(&entry.path, false))
                || is_excluded && plain_excludes.is_some_and(|m| !m.reaches_into(&entry.path, true)));
        if is_skipped {
            index += 1 + entries[index + 1..].iter().take_while(|next| is_below(&next.path, &entry.path)).count();
            continue;
        }
        let is_chosen = is_included && !is_excluded;
        if is_chosen {
            // A directory is sent before the first chosen entry in it.
            for parent in parents.iter_mut().filter(|parent| !parent.is_chosen) {
                parent.is_chosen = true;
                chosen.push(parent.index);
            }
            chosen.push(index as u32);
        }
        if is_dir {
            parents.push(ParentDir {
                index: index as u32,
                included: included.clone(),
                excluded: excluded.clone(),
                is_chosen,
            });
        }
        index += 1;
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests;
