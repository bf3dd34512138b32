//! Which entries of a tree BuildKit gets: its include-patterns, exclude-patterns and followpaths are ours to apply, as
//! `github.com/tonistiigi/fsutil` (`filter.go`) does.

use crate::git::{Entry, EntryKind};

use super::follow_paths::{Links, follow, is_below, without_nested};
use super::pattern::{BadPattern, Matched, Matcher};

/// What the engine asked for, from the request's metadata.
#[derive(Debug, Default)]
pub(in crate::engine) struct Wanted {
    pub includes: Vec<Vec<u8>>,
    pub excludes: Vec<Vec<u8>>,
    pub follow: Vec<Vec<u8>>,
}

/// A directory on the way to the present entry.
struct Parent {
    index: u32,
    included: Matched,
    excluded: Matched,
    is_chosen: bool,
}

/// The indices of the entries to be sent, in their order, which is fsutil's.
pub(in crate::engine) fn choose(entries: &[Entry], links: &Links, wanted: &Wanted) -> Result<Vec<u32>, BadPattern> {
    let mut includes = wanted.includes.clone();
    if !wanted.follow.is_empty()
        && let Some(found) = follow(entries, links, &wanted.follow)?
    {
        includes.extend(found);
        includes.sort();
        includes = without_nested(includes).unwrap_or_default();
    }
    let matcher = |patterns: &[Vec<u8>]| (!patterns.is_empty()).then(|| Matcher::new(patterns)).transpose();
    let (include, exclude) = (matcher(&includes)?, matcher(&wanted.excludes)?);
    if include.is_none() && exclude.is_none() {
        return Ok((0..entries.len() as u32).collect());
    }
    let plain_includes = include.as_ref().filter(|m| m.is_plain(false));
    let plain_excludes = exclude.as_ref().filter(|m| m.is_plain(true));
    let mut chosen = Vec::new();
    let mut parents: Vec<Parent> = Vec::new();
    let (mut included, mut excluded) = (Matched::new(), Matched::new());
    let mut index = 0;
    while let Some(entry) = entries.get(index) {
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
        // Nothing in it can be wanted: pass over it whole.
        let is_passed = is_dir
            && (!is_included && plain_includes.is_some_and(|m| !m.reaches_into(&entry.path, false))
                || is_excluded && plain_excludes.is_some_and(|m| !m.reaches_into(&entry.path, true)));
        if is_passed {
            index += 1 + entries[index + 1..].iter().take_while(|next| is_below(&next.path, &entry.path)).count();
            continue;
        }
        let is_chosen = is_included && !is_excluded;
        if is_chosen {
            // A directory goes with the first of what is chosen in it.
            for parent in parents.iter_mut().filter(|parent| !parent.is_chosen) {
                parent.is_chosen = true;
                chosen.push(parent.index);
            }
            chosen.push(index as u32);
        }
        if is_dir {
            parents.push(Parent {
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
