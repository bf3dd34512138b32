use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::git::tree::EntryKind;

const NOW: i64 = 1_800_000_000 * SECOND;

/// Makes entries of `(path, content)`, which must be in order.
fn tree(files: &[(&str, u8)]) -> Vec<Entry> {
    let entry = |(path, content): &(&str, u8)| Entry {
        path: (*path).into(),
        kind: if path.ends_with('x') { EntryKind::Exec } else { EntryKind::File },
        oid: Oid::from_hex(format!("{content:02x}").repeat(20).as_bytes()).unwrap(),
        size: 1,
        mtime: 0,
        origin: 0,
        lfs: false,
    };
    files.iter().map(entry).collect()
}

/// A table under a simulated clock.
struct Times(Option<Table>);

impl Times {
    /// Makes a new table, whose files have the seconds of `history`.
    fn new(files: &[(&str, u8)], history: &[i64]) -> (Self, Vec<i64>) {
        let mut entries = tree(files);
        let (_, table) = assign(StoredTable::Nothing, Some(history), &mut entries, NOW);
        (Self(table), entries.iter().map(|e| e.mtime).collect())
    }

    fn build(&mut self, files: &[(&str, u8)], now: i64) -> Vec<i64> {
        let mut entries = tree(files);
        let table = self.0.take().unwrap();
        let (_, changed) = assign(StoredTable::Table(table.clone()), None, &mut entries, now);
        self.0 = Some(changed.unwrap_or(table));
        entries.iter().map(|e| e.mtime).collect()
    }
}

#[test]
fn at_first_files_have_the_time_of_their_commit() {
    let (_, times) = Times::new(&[("a", 1), ("b", 2)], &[100, 200]);
    assert_eq!(times.iter().map(|t| t / SECOND).collect::<Vec<_>>(), [100, 200]);
    // A wrong clock can give a time in the future, or before 1970.
    let (_, times) = Times::new(&[("a", 1), ("b", 2)], &[i64::MAX, i64::MIN]);
    assert!(times[0] < NOW && times[0] >= NOW - 2 * SECOND && (0..SECOND).contains(&times[1]));
}

#[test]
fn trap_an_edit_of_the_same_size_is_seen() {
    let (mut times, first) = Times::new(&[("a", 1), ("b", 2)], &[100, 100]);
    let second = times.build(&[("a", 3), ("b", 2)], NOW + 1);
    assert_ne!(second[0], first[0]);
    // A table that is lost and made again differs too, even in the same second of history.
    let (_, again) = Times::new(&[("a", 3), ("b", 2)], &[100, 100]);
    assert_ne!(again[0], first[0]);
    assert_eq!(again[1], first[1]);
}

#[test]
fn trap_a_change_is_newer_than_an_artefact_of_what_was_before() {
    let (mut times, _) = Times::new(&[("a", 1)], &[100]);
    let artefact = NOW + 5 * SECOND;
    // The commit may be of any age, and its content may have been there before.
    for (content, now) in [(2, artefact + 1), (1, artefact + 2)] {
        assert!(times.build(&[("a", content)], now)[0] > artefact);
    }
    // A clock that is set back does not make the change older either.
    let before = times.build(&[("a", 1)], NOW)[0];
    assert!(times.build(&[("a", 2)], NOW - 1000 * SECOND)[0] > before);
}

#[test]
fn trap_what_did_not_change_is_not_made_again() {
    let (mut times, first) = Times::new(&[("a", 1), ("b", 2)], &[100, 50]);
    assert_eq!(times.build(&[("a", 1), ("b", 2)], NOW + 1), first);
    let second = times.build(&[("a", 1), ("b", 3)], NOW + 2);
    assert_eq!(second, [first[0], NOW + 2]);
    assert_eq!(times.build(&[("a", 1), ("b", 3)], NOW + 3), second);
}

#[test]
fn what_comes_back_is_new() {
    let (mut times, first) = Times::new(&[("a", 1), ("b", 2)], &[100, 100]);
    assert_eq!(times.build(&[("b", 2)], NOW + 1), first[1..]);
    assert_eq!(times.build(&[("a", 1), ("b", 2)], NOW + 2), [NOW + 2, first[1]]);
    let kind_changed = tree(&[("a", 1)]).into_iter().map(|e| Entry { kind: EntryKind::Symlink, ..e });
    let mut entries: Vec<_> = kind_changed.collect();
    assign(StoredTable::Table(times.0.unwrap()), None, &mut entries, NOW + 3);
    assert_eq!(entries[0].mtime, NOW + 3);
}

#[test]
fn a_damaged_table_makes_all_new_and_is_another_generation() {
    let mut entries = tree(&[("a", 1)]);
    let (first, _) = assign(StoredTable::Damaged, None, &mut entries, NOW);
    assert_eq!(entries[0].mtime, NOW);
    let (second, table) = assign(StoredTable::Damaged, None, &mut entries, NOW);
    assert_ne!(first, second);
    let (third, unchanged) = assign(StoredTable::Table(table.unwrap()), None, &mut entries, NOW + 1);
    assert_eq!(second, third);
    assert_eq!(unchanged, None);
}

/// Generates builds: some of five paths, each with one of three contents, and the clock's step forward or back.
fn builds() -> impl Strategy<Value = Vec<(Vec<Option<u8>>, i64)>> {
    let files = prop::collection::vec(prop::option::weighted(0.8, 0..3u8), 5);
    prop::collection::vec((files, -5..20i64), 1..30)
}

proptest! {
    /// The property is the engine's view with any number of slots: whatever it synced last, equal times are equal
    /// contents.
    #[test]
    fn a_path_and_a_time_name_one_content(builds in builds()) {
        let paths = ["a", "a.x", "b", "cx", "d"];
        let (mut times, mut now) = (Times(Some(Table::of(&[], "g".into(), NOW))), NOW);
        let mut seen: HashMap<(&str, i64), u8> = HashMap::new();
        let mut last: HashMap<&str, (u8, i64)> = HashMap::new();
        let mut latest = NOW;
        for (contents, step) in builds {
            now += step;
            let files: Vec<_> = paths.iter().zip(contents).filter_map(|(p, c)| Some((*p, c?))).collect();
            let given = times.build(&files, now);
            let mut current = HashMap::new();
            for ((path, content), time) in files.into_iter().zip(given) {
                prop_assert_eq!(*seen.entry((path, time)).or_insert(content), content);
                match last.get(path) {
                    Some(&(before, old)) if before == content => prop_assert_eq!(time, old),
                    _ => prop_assert!(time > latest && time >= now),
                }
                current.insert(path, (content, time));
            }
            latest = current.values().map(|&(_, time)| time).chain([latest]).max().unwrap();
            last = current;
        }
    }
}
