use aho_corasick::{AhoCorasick, MatchKind};
use zeroize::Zeroizing;

/// Shorter ones are not masked: they would blacken words that are no secret.
const MIN: usize = 6;
const MASK: &[u8] = b"***";

/// Whether a log would mask any of this text.
pub fn has_secret(text: &str, secrets: &[Zeroizing<String>]) -> bool {
    let mut redactor = Redactor::default();
    redactor.add(secrets);
    redactor.finder.is_none_or(|finder| finder.is_match(text))
}

/// Masks secrets in a stream of bytes. What is masked is every byte that belongs to an occurrence of a secret; a run of
/// such bytes becomes one `***`. So the output does not depend on how the stream is cut, and of two secrets that
/// overlap nothing is left over.
#[derive(Default)]
pub(super) struct Redactor {
    secrets: Vec<Zeroizing<Vec<u8>>>,
    finder: Option<AhoCorasick>,
    /// The end of the stream so far, as far back as a secret may begin in it: less than the longest secret.
    held: Zeroizing<Vec<u8>>,
    /// So many bytes at the head of `held` are known to belong to a secret.
    covered: usize,
    /// The byte before `held` was masked.
    masking: bool,
}

impl Redactor {
    /// Adds secrets. One of several lines (a key) is masked line by line, as programs indent what they print.
    pub(super) fn add(&mut self, secrets: &[Zeroizing<String>]) {
        let lines = secrets.iter().flat_map(|s| s.lines()).map(str::trim);
        // The frame of a PEM file is no secret.
        for line in lines.filter(|l| l.len() >= MIN && !l.starts_with("-----")) {
            if !self.secrets.iter().any(|s| s.as_slice() == line.as_bytes()) {
                self.secrets.push(Zeroizing::new(line.into()));
            }
        }
        let patterns = self.secrets.iter().map(|s| s.as_slice());
        self.finder = AhoCorasick::builder().match_kind(MatchKind::Standard).build(patterns).ok();
    }

    /// Takes the next bytes of the stream and appends to `out` what is sure.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        if self.secrets.is_empty() {
            return out.extend_from_slice(bytes);
        }
        self.held.extend_from_slice(bytes);
        self.emit(self.held.len() - self.open_end(), out);
    }

    /// The stream ends here: appends what is held back.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) {
        self.emit(self.held.len(), out);
        self.masking = false;
    }

    /// The length of the longest end of `held` that a secret begins with without being complete.
    fn open_end(&self) -> usize {
        let held = &self.held[..];
        let longest = self.secrets.iter().map(|s| s.len()).max().unwrap_or(0);
        let ends = (1..longest.min(held.len() + 1)).rev().map(|len| &held[held.len() - len..]);
        let mut open = ends.filter(|end| self.secrets.iter().any(|s| s.len() > end.len() && s.starts_with(end)));
        open.next().map_or(0, <[u8]>::len)
    }

    /// Moves the first `sure` bytes of `held` to `out`.
    fn emit(&mut self, sure: usize, out: &mut Vec<u8>) {
        let mut secret = vec![false; self.held.len()];
        secret[..self.covered].fill(true);
        match &self.finder {
            Some(finder) => {
                finder.find_overlapping_iter(&self.held[..]).for_each(|m| secret[m.range()].fill(true));
            }
            // Building it fails only for gigabytes of secrets. Then nothing passes.
            None => secret.fill(true),
        }
        for (&byte, &secret) in self.held[..sure].iter().zip(&secret) {
            match (secret, self.masking) {
                (false, _) => out.push(byte),
                (true, false) => out.extend_from_slice(MASK),
                (true, true) => {}
            }
            self.masking = secret;
        }
        self.covered = secret[sure..].iter().take_while(|&&s| s).count();
        self.held.drain(..sure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn redact<'a>(secrets: &[&str], chunks: impl IntoIterator<Item = &'a [u8]>) -> String {
        let mut redactor = Redactor::default();
        redactor.add(&secrets.iter().map(|s| Zeroizing::new(s.to_string())).collect::<Vec<_>>());
        let mut out = Vec::new();
        chunks.into_iter().for_each(|chunk| redactor.push(chunk, &mut out));
        redactor.flush(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn secrets_are_masked_across_chunks_and_overlaps() {
        let masked = |secrets: &[&str], text: &str| {
            let whole = redact(secrets, [text.as_bytes()]);
            assert_eq!(whole, redact(secrets, text.as_bytes().chunks(1)), "{text}");
            whole
        };
        assert_eq!(masked(&["hunter2"], "user:hunter2@host"), "user:***@host");
        assert_eq!(masked(&["hunter2"], "hunter hunte"), "hunter hunte");
        assert_eq!(masked(&["abcdef", "defghi"], "<abcdefghi>"), "<***>");
        assert_eq!(masked(&["abcabc"], "abcabcabcab"), "***ab");
        assert_eq!(masked(&["abcdef"], "abcdefabcdef"), "***");
        assert_eq!(masked(&["short"], "short"), "short");
        assert_eq!(masked(&[], "plain"), "plain");
        let key = "-----BEGIN KEY-----\nMIIabcdefgh\n  0123456789\nend\n-----END KEY-----\n";
        let printed = "-----BEGIN KEY-----\n\tMIIabcdefgh\n\t0123456789\n";
        assert_eq!(masked(&[key], printed), "-----BEGIN KEY-----\n\t***\n\t***\n");
    }

    #[test]
    fn a_text_with_a_secret_is_known() {
        let has = |secrets: &[&str], text| {
            has_secret(text, &secrets.iter().map(|s| Zeroizing::new(s.to_string())).collect::<Vec<_>>())
        };
        assert!(has(&["other one", "hunter2"], "x=hunter2!"));
        assert!(has(&["-----BEGIN KEY-----\n  MIIabcdefgh\n"], "MIIabcdefgh"));
        assert!(!has(&["hunter2", "short"], "hunter short"));
        assert!(!has(&[], "anything"));
    }

    #[test]
    fn only_what_may_become_a_secret_is_held_back() {
        let mut redactor = Redactor::default();
        redactor.add(&[Zeroizing::new("hunter2".into())]);
        let mut out = Vec::new();
        redactor.push(b"password: hun", &mut out);
        assert_eq!(out, b"password: ");
        redactor.push(b"dred", &mut out);
        assert_eq!(out, b"password: hundred");
        redactor.add(&[Zeroizing::new("another one".into())]);
        redactor.push(b" another one", &mut out);
        redactor.push(b".", &mut out);
        assert_eq!(out, b"password: hundred ***.");
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter_and_no_secret_passes(
            secrets in prop::collection::vec("[ab]{6,9}", 1..4),
            text in "[abc]{0,80}",
            cuts in prop::collection::vec(1usize..9, 80),
        ) {
            let secrets: Vec<&str> = secrets.iter().map(String::as_str).collect();
            let mut rest = text.as_bytes();
            let chunks = cuts.iter().map_while(|&n| {
                let (chunk, tail) = rest.split_at_checked(n).unwrap_or((rest, &[]));
                rest = tail;
                (!chunk.is_empty()).then_some(chunk)
            });
            let cut: Vec<&[u8]> = chunks.collect();
            let out = redact(&secrets, cut);
            prop_assert_eq!(&out, &redact(&secrets, [text.as_bytes()]));
            prop_assert!(secrets.iter().all(|s| !out.contains(s)), "{}", out);
        }
    }
}
