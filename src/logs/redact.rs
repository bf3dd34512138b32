//! Masks secrets in a stream of bytes, in constant memory and one pass.

use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, MatchKind};
use zeroize::Zeroizing;

use super::forms::forms;

const MASK: &[u8] = b"***";

/// So much of a secret must stand before a line's break to hold the line back until the next bytes come: what began with
/// less is shown, and the rest is masked. Each letter of the alphabet begins some secret.
const HOLD: usize = 3;
/// So many bytes of breaks and indentation may be between two bytes of a secret.
const GAP: usize = 64;

/// Says of texts whether a log would mask any of them.
pub fn secret_finder(secrets: &[Zeroizing<String>]) -> impl Fn(&str) -> bool {
    let all = LazyCell::new(move || {
        let mut redactor = Redactor::default();
        redactor.add(secrets.iter().flat_map(|secret| forms(secret)));
        redactor
    });
    move |text| {
        let mut redactor = all.afresh();
        redactor.held.extend_from_slice(text.as_bytes());
        redactor.scan(true);
        !redactor.masked.is_empty()
    }
}

/// The forms of all secrets, as one automaton.
struct Finder {
    nfa: NFA,
    start: StateID,
    /// By state: how much has been seen of the longest form that may still come.
    depths: Vec<u32>,
    /// By states at whose end a form is and no longer one: what else may still come there.
    falls: HashMap<StateID, StateID>,
}

impl Finder {
    /// None: there are gigabytes of secrets.
    fn new(forms: &[Zeroizing<Vec<u8>>]) -> Option<Self> {
        let mut builder = NFA::builder();
        let nfa = builder.match_kind(MatchKind::Standard).build(forms.iter().map(|form| form.as_slice())).ok()?;
        let start = nfa.start_state(Anchored::No).ok()?;
        let mut finder = Self { nfa, start, depths: Vec::new(), falls: HashMap::new() };
        let mut goes_on = HashSet::new();
        for form in forms {
            let mut state = start;
            for (seen, &byte) in form.iter().enumerate() {
                goes_on.insert(state);
                state = finder.nfa.next_state(Anchored::No, state, byte);
                let index = state.as_usize();
                if finder.depths.len() <= index {
                    finder.depths.resize(index + 1, 0);
                }
                finder.depths[index] = seen as u32 + 1;
            }
            finder.falls.insert(state, start);
        }
        finder.falls.retain(|state, _| !goes_on.contains(state));
        for form in forms {
            let end = finder.walk(form);
            if !finder.falls.contains_key(&end) {
                continue;
            }
            let mut fall = finder.walk(&form[1..]);
            while fall != start && !goes_on.contains(&fall) {
                // Another form, that this one ends with and that does not go on either.
                fall = finder.walk(&form[form.len() + 1 - finder.depth(fall)..]);
            }
            finder.falls.insert(end, fall);
        }
        Some(finder)
    }

    fn walk(&self, bytes: &[u8]) -> StateID {
        bytes.iter().fold(self.start, |state, &byte| self.nfa.next_state(Anchored::No, state, byte))
    }

    fn depth(&self, state: StateID) -> usize {
        self.depths.get(state.as_usize()).map_or(0, |&depth| depth as usize)
    }

    /// The length of the longest form that ends here.
    fn ended(&self, state: StateID) -> usize {
        let matches = 0..self.nfa.match_len(state);
        matches.map(|n| self.nfa.pattern_len(self.nfa.match_pattern(state, n))).max().unwrap_or(0)
    }
}

/// Masks secrets in a stream of bytes. What is masked is every byte that belongs to an occurrence of a form of a secret;
/// a run of such bytes in a line becomes one `***`. So the output does not depend on how the stream is cut, and of two
/// secrets that overlap nothing is left over.
///
/// A form may be broken over lines, also with indentation and the number of BuildKit's step (`#12 `) before each.
#[derive(Default)]
pub(super) struct Redactor {
    forms: Arc<Vec<Zeroizing<Vec<u8>>>>,
    /// None while there are no forms, or too many.
    finder: Option<Arc<Finder>>,
    /// The end of the stream so far, as far back as a secret may begin in it: less than the longest form, and its gaps.
    held: Zeroizing<Vec<u8>>,
    /// So much of it was looked at.
    seen: usize,
    state: Option<StateID>,
    /// Where in `held` the bytes are that led to `state`.
    path: Vec<usize>,
    /// Before this nothing is held back.
    released: usize,
    /// At a line's beginning, behind a part of a form.
    indented: bool,
    /// Bytes between two of a form.
    gap: usize,
    /// What belongs to a secret, in order and apart.
    masked: Vec<Range<usize>>,
    /// The byte before `held` was masked.
    masking: bool,
}

impl Redactor {
    /// From now on these are masked: what [`forms`] makes of secrets.
    pub(super) fn add(&mut self, forms: impl IntoIterator<Item = Zeroizing<Vec<u8>>>) {
        let known: HashSet<_> = self.forms.iter().map(|form| form.to_vec()).collect();
        let before = self.forms.len();
        Arc::make_mut(&mut self.forms).extend(forms.into_iter().filter(|form| !known.contains(&**form)));
        if self.forms.len() > before {
            self.finder = Finder::new(&self.forms).map(Arc::new);
            // What is held is looked at anew.
            (self.state, self.seen, self.indented, self.gap) = (None, 0, false, 0);
            self.path.clear();
        }
    }

    /// One for another stream, with the same secrets.
    pub(super) fn afresh(&self) -> Self {
        Self { forms: self.forms.clone(), finder: self.finder.clone(), ..Self::default() }
    }

    /// Takes the next bytes of the stream and appends to `out` what is sure.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.forms.is_empty() {
            return out.extend_from_slice(bytes);
        }
        self.held.extend_from_slice(bytes);
        let sure = self.scan(false);
        self.emit(sure, out);
    }

    /// The stream ends here: appends what is held back.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.scan(true);
        self.emit(self.held.len(), out);
        (self.state, self.released, self.indented, self.gap, self.masking) = (None, 0, false, 0, false);
        self.path.clear();
    }

    /// Looks at what is new. Returns how much at the head of `held` is known to be secret or not.
    fn scan(&mut self, at_end: bool) -> usize {
        let Some(finder) = self.finder.clone() else {
            if !self.forms.is_empty() {
                // Nothing passes.
                cover(&mut self.masked, 0..self.held.len());
            }
            return self.held.len();
        };
        let mut state = self.state.unwrap_or(finder.start);
        let mut depth = finder.depth(state);
        let mut at = self.seen;
        while let Some(&byte) = self.held.get(at) {
            let mut skipped = 0;
            if matches!(byte, b'\n' | b'\r') {
                skipped = 1;
                if depth > 0 {
                    self.indented = true;
                    if depth < HOLD {
                        self.released = at + 1;
                    }
                }
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
                    let begin = self.path[self.path.len() - finder.ended(state)];
                    cover(&mut self.masked, begin.max(self.released)..at + 1);
                    state = finder.falls.get(&state).copied().unwrap_or(state);
                    depth = finder.depth(state);
                }
            }
            at += 1;
        }
        (self.state, self.seen) = (Some(state), at);
        self.path.drain(..self.path.len() - depth);
        self.path.first().map_or(at, |&begin| begin.max(self.released))
    }

    /// Moves the first `sure` bytes of `held` to `out`.
    fn emit(&mut self, sure: usize, out: &mut Vec<u8>) {
        let mut done = 0;
        for range in &self.masked {
            let (start, end) = (range.start.min(sure), range.end.min(sure));
            if start > done {
                out.extend_from_slice(&self.held[done..start]);
                self.masking = false;
            }
            // Lines stay lines.
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
        if sure > done {
            out.extend_from_slice(&self.held[done..sure]);
            self.masking = false;
        }
        self.masked.retain_mut(|range| {
            *range = range.start.saturating_sub(sure)..range.end.saturating_sub(sure);
            range.start < range.end
        });
        self.path.iter_mut().for_each(|at| *at = at.saturating_sub(sure));
        (self.seen, self.released) = (self.seen.saturating_sub(sure), self.released.saturating_sub(sure));
        self.held.drain(..sure);
    }
}

/// The length of `#12 ` at the beginning of these bytes; 0 if they begin otherwise; None while that is open.
fn step_number(bytes: &[u8]) -> Option<usize> {
    let digits = bytes[1..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
    match bytes.get(1 + digits) {
        Some(b' ') if digits > 0 => Some(digits + 2),
        Some(_) => Some(0),
        None => None,
    }
}

/// Adds a range that ends behind all others.
fn cover(ranges: &mut Vec<Range<usize>>, mut new: Range<usize>) {
    while let Some(last) = ranges.pop_if(|last| last.end >= new.start) {
        new.start = new.start.min(last.start);
    }
    ranges.push(new);
}

#[cfg(test)]
mod tests;
