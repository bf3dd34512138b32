//! Masks secrets in a stream of bytes, in bounded memory, time and delay.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use zeroize::Zeroizing;

const MASK: &[u8] = b"***";

/// Number of bytes of line breaks and indentation that may be between two bytes of a secret.
const GAP: usize = 64;

/// Number of bytes above which the oldest are shown before their tick, and how many of the newest stay: many times the
/// longest form.
const FULL: usize = 1 << 20;
const KEPT: usize = 256 << 10;

/// The forms of all secrets, as one automaton.
struct Finder {
    nfa: NFA,
    start: StateID,
    /// For each state: the number of bytes of the longest form that may still be completed.
    depths: Vec<u32>,
    /// For each state that completes a form and extends none: the state to continue from, which is that of the longest
    /// proper suffix that may still be extended.
    fallbacks: HashMap<StateID, StateID>,
}

impl Finder {
    /// Makes an automaton of the forms, or `None` if they are gigabytes.
    fn new(forms: &[Zeroizing<Vec<u8>>]) -> Option<Self> {
        let mut builder = NFA::builder();
        let nfa = builder.match_kind(MatchKind::Standard).build(forms.iter().map(|form| form.as_slice())).ok()?;
        let start = nfa.start_state(Anchored::No).ok()?;
        let mut finder = Self { nfa, start, depths: Vec::new(), fallbacks: HashMap::new() };
        let mut extensible = HashSet::new();
        for form in forms {
            let mut state = start;
            for (seen, &byte) in form.iter().enumerate() {
                extensible.insert(state);
                state = finder.nfa.next_state(Anchored::No, state, byte);
                let index = state.as_usize();
                if finder.depths.len() <= index {
                    finder.depths.resize(index + 1, 0);
                }
                finder.depths[index] = seen as u32 + 1;
            }
            finder.fallbacks.insert(state, start);
        }
        finder.fallbacks.retain(|state, _| !extensible.contains(state));
        for form in forms {
            let end = finder.walk(form);
            if !finder.fallbacks.contains_key(&end) {
                continue;
            }
            let mut fallback = finder.walk(&form[1..]);
            while fallback != start && !extensible.contains(&fallback) {
                // The suffix is a whole form itself that no form extends, so the next shorter suffix is tried.
                fallback = finder.walk(&form[form.len() + 1 - finder.depth(fallback)..]);
            }
            finder.fallbacks.insert(end, fallback);
        }
        Some(finder)
    }

    fn walk(&self, bytes: &[u8]) -> StateID {
        bytes.iter().fold(self.start, |state, &byte| self.nfa.next_state(Anchored::No, state, byte))
    }

    fn depth(&self, state: StateID) -> usize {
        self.depths.get(state.as_usize()).map_or(0, |&depth| depth as usize)
    }

    /// Returns the length of the longest form that ends in this state.
    fn longest_match(&self, state: StateID) -> usize {
        let matches = 0..self.nfa.match_len(state);
        matches.map(|n| self.nfa.pattern_len(self.nfa.match_pattern(state, n))).max().unwrap_or(0)
    }
}

/// Masks secrets in a stream of bytes. Every byte of an occurrence of a form is masked, and a run of such bytes in a
/// line becomes one `***`, so nothing remains of two secrets that overlap.
///
/// The bytes of one tick are shown at the end of the next one, with what is whole by then masked. When a byte is shown
/// depends on its arrival and on the number of bytes behind it, and never on the text: otherwise a reader could learn a
/// secret character by character, from what is held back of the guesses that a build prints. A form that comes more
/// than a tick apart is shown in part.
///
/// A form may be broken over lines, with indentation or the number of BuildKit's step (`#12 `) at the start of each.
#[derive(Default)]
pub(super) struct Redactor {
    forms: Arc<Vec<Zeroizing<Vec<u8>>>>,
    /// The automaton; `None` if there are no forms, or too many.
    finder: Option<Arc<Finder>>,
    /// End of the stream so far, which is not shown yet.
    held: Zeroizing<Vec<u8>>,
    /// Number of bytes of `held` that were there at the last tick.
    aged: usize,
    /// Number of bytes of `held` that were scanned.
    seen: usize,
    state: Option<StateID>,
    /// Positions in `held` of the bytes that led to `state`; 0 for those that were shown.
    path: Vec<usize>,
    /// True at the beginning of a line that follows a part of a form.
    indented: bool,
    /// Number of bytes since the last byte of a form.
    gap: usize,
    /// Ranges of `held` that belong to secrets, in order and without overlaps.
    masked: Vec<Range<usize>>,
    /// True if the byte before `held` was masked.
    masking: bool,
}

impl Redactor {
    /// Masks these forms of secrets, as made by [`forms`], from now on.
    pub(super) fn add(&mut self, forms: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) {
        let known: HashSet<_> = self.forms.iter().map(|form| form.to_vec()).collect();
        let before = self.forms.len();
        Arc::make_mut(&mut self.forms).extend(forms.into_iter().filter(|form| !known.contains(&**form)));
        if self.forms.len() > before {
            self.finder = Finder::new(&self.forms).map(Arc::new);
            // The held bytes are scanned again.
            (self.state, self.seen, self.indented, self.gap) = (None, 0, false, 0);
            self.path.clear();
        }
    }

    /// Returns a redactor of the same secrets for another stream.
    pub(super) fn fork(&self) -> Self {
        Self { forms: self.forms.clone(), finder: self.finder.clone(), ..Self::default() }
    }

    /// Takes the next bytes of the stream, and appends the oldest ones to `out` if too many are held.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        for piece in bytes.chunks(FULL / 4) {
            self.held.extend_from_slice(piece);
            if self.held.len() > FULL {
                let due = self.held.len() - KEPT;
                self.show(due, out);
                self.aged = self.aged.saturating_sub(due);
            }
        }
    }

    /// Ends a tick: appends the bytes from before it to `out`. Returns true if others are held.
    pub(super) fn tick(&mut self, out: &mut Vec<u8>) -> bool {
        self.show(self.aged, out);
        self.aged = self.held.len();
        self.aged > 0
    }

    /// Ends the stream, and appends the bytes that are held to `out`.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.scan(true);
        self.emit(self.held.len(), out);
        (self.aged, self.state, self.indented, self.gap, self.masking) = (0, None, false, 0, false);
        self.path.clear();
    }

    /// Moves the first `due` bytes of `held` to `out`.
    fn show(&mut self, due: usize, out: &mut Vec<u8>) {
        self.scan(false);
        if self.seen < due {
            self.scan(true);
        }
        self.emit(due, out);
    }

    /// Scans the new bytes. Unless it is at the end, the beginning of what may be a step's number is left for later.
    fn scan(&mut self, at_end: bool) {
        let Some(finder) = self.finder.clone() else {
            if !self.forms.is_empty() {
                // There are too many forms for an automaton, so everything is masked.
                cover(&mut self.masked, 0..self.held.len());
            }
            self.seen = self.held.len();
            return;
        };
        let mut state = self.state.unwrap_or(finder.start);
        let mut depth = finder.depth(state);
        let mut at = self.seen;
        while let Some(&byte) = self.held.get(at) {
            let mut skipped = 0;
            if matches!(byte, b'\n' | b'\r') {
                skipped = 1;
                self.indented |= depth > 0;
            } else if self.indented && byte == b'#' {
                match step_number(&self.held[at..]) {
                    None if !at_end => break,
                    found => skipped = found.unwrap_or(0),
                }
            }
            let next = finder.nfa.next_state(Anchored::No, state, byte);
            let next_depth = finder.depth(next);
            if self.indented && matches!(byte, b' ' | b'\t') && next_depth <= depth {
                skipped = 1;
            }
            if skipped > 0 {
                at += skipped;
                self.gap += skipped;
                if depth > 0 && self.gap > GAP {
                    (state, depth, self.indented) = (finder.start, 0, false);
                    self.path.clear();
                }
                continue;
            }
            (state, depth) = (next, next_depth);
            (self.indented, self.gap) = (false, 0);
            if depth == 0 {
                self.path.clear();
            } else {
                self.path.push(at);
                if finder.nfa.is_match(state) {
                    let begin = self.path[self.path.len() - finder.longest_match(state)];
                    cover(&mut self.masked, begin..at + 1);
                    state = finder.fallbacks.get(&state).copied().unwrap_or(state);
                    depth = finder.depth(state);
                }
            }
            at += 1;
        }
        (self.state, self.seen) = (Some(state), at);
        self.path.drain(..self.path.len() - depth);
    }

    /// Moves the first `decided` bytes of `held` to `out`.
    fn emit(&mut self, decided: usize, out: &mut Vec<u8>) {
        let mut done = 0;
        for range in &self.masked {
            let (start, end) = (range.start.min(decided), range.end.min(decided));
            if start > done {
                out.extend_from_slice(&self.held[done..start]);
                self.masking = false;
            }
            // Line breaks inside of a secret are kept.
            for &byte in &self.held[start..end] {
                if matches!(byte, b'\n' | b'\r') {
                    out.push(byte);
                    self.masking = false;
                } else if !std::mem::replace(&mut self.masking, true) {
                    out.extend_from_slice(MASK);
                }
            }
            done = end;
        }
        if decided > done {
            out.extend_from_slice(&self.held[done..decided]);
            self.masking = false;
        }
        self.masked.retain_mut(|range| {
            *range = range.start.saturating_sub(decided)..range.end.saturating_sub(decided);
            range.start < range.end
        });
        self.path.iter_mut().for_each(|at| *at = at.saturating_sub(decided));
        self.seen = self.seen.saturating_sub(decided);
        self.held.drain(..decided);
    }
}

/// Returns the length of `#12 ` at the beginning of these bytes, 0 if they begin otherwise, or `None` if more bytes are
/// needed to decide.
fn step_number(bytes: &[u8]) -> Option<usize> {
    let digits = bytes[1..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.get(1 + digits) {
        Some(b' ') if digits > 0 => Some(digits + 2),
        Some(_) => Some(0),
        None => None,
    }
}

/// Adds a range whose end is behind all others.
fn cover(ranges: &mut Vec<Range<usize>>, mut new: Range<usize>) {
    while let Some(last) = ranges.pop_if(|last| last.end >= new.start) {
        new.start = new.start.min(last.start);
    }
    ranges.push(new);
}

#[cfg(test)]
mod tests;
