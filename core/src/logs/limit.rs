//! Keeps a log within LOG_LIMIT.

use std::collections::VecDeque;

use crate::memory::{MemoryClaim, MemoryPool};

/// Longest end of a stage that is kept of a log over its limit, in bytes.
const END: usize = 1 << 20;
/// The same while other logs have the memory for longer ones.
const SHORT_END: usize = 64 << 10;

/// The bound of one log. Its beginning is written as it comes. Behind the limit the log gets a notice, and at the end of
/// each stage the last MiB of what came, so that a log only grows.
pub(super) struct Limit {
    bytes: u64,
    is_over: bool,
    /// The newest bytes behind the limit.
    end: VecDeque<u8>,
    /// Number of older bytes that were left out.
    left_out: u64,
    /// Memory for the ends of all logs, and the part of it for a long end of this one.
    memory: MemoryPool,
    claim: Option<MemoryClaim>,
}

impl Limit {
    /// Makes a bound of this many bytes.
    pub(super) fn new(bytes: u64, memory: MemoryPool) -> Self {
        Self { bytes, is_over: false, end: VecDeque::new(), left_out: 0, memory, claim: None }
    }

    /// Takes the next bytes of a log that has `written` bytes already. Returns what is written now: a part of the bytes,
    /// and a notice.
    pub(super) fn take<'a>(&mut self, bytes: &'a [u8], written: u64) -> (&'a [u8], String) {
        let room = if self.is_over { 0 } else { self.bytes.saturating_sub(written) };
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        let Some((now, later)) = bytes.split_at_checked(room).filter(|(_, later)| !later.is_empty()) else {
            return (bytes, String::new());
        };
        let longest = self.longest_end();
        let kept = &later[later.len().saturating_sub(longest)..];
        // The oldest bytes go first, so that there are never more than the longest end has.
        let surplus = (self.end.len() + kept.len()).saturating_sub(longest);
        self.end.drain(..surplus);
        self.end.extend(kept);
        self.left_out += (surplus + later.len() - kept.len()) as u64;
        let notice = match std::mem::replace(&mut self.is_over, true) {
            true => String::new(),
            false => format!(
                "\n[this log is longer than {} bytes (LOG_LIMIT): the rest of each stage follows, cut to its end, when the stage ends]\n",
                self.bytes
            ),
        };
        (now, notice)
    }

    /// Returns the bytes that the end of this stage may have.
    fn longest_end(&mut self) -> usize {
        self.claim = self.claim.take().or_else(|| self.memory.try_claim(END as u64));
        let longest = if self.claim.is_some() { END } else { SHORT_END };
        usize::try_from(self.bytes).map_or(longest, |bytes| longest.min(bytes))
    }

    /// Ends a stage. Returns the last part of what came behind the limit, from the beginning of a line on if its beginning
    /// is missing.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.claim = None;
        let mut end = Vec::from(std::mem::take(&mut self.end));
        let mut left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            let lines = &end[..end.len().saturating_sub(1)];
            let cut = lines.iter().position(|&byte| byte == b'\n').map_or(0, |at| at + 1);
            left_out += cut as u64;
            end.splice(..cut, format!("[{left_out} bytes are left out]\n").into_bytes());
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes the pieces of one stage, and returns the log behind the bytes that were `written`.
    fn log(limit: &mut Limit, mut written: u64, pieces: &[&str]) -> String {
        let mut log = String::new();
        for piece in pieces {
            let (now, notice) = limit.take(piece.as_bytes(), written);
            let text = String::from_utf8_lossy(now) + &*notice;
            written += text.len() as u64;
            log += &text;
        }
        log + &String::from_utf8(limit.end()).unwrap()
    }

    #[test]
    fn a_log_keeps_its_beginning_and_the_end_of_each_stage() {
        const NOTICE: &str = "\n[this log is longer than 10 bytes (LOG_LIMIT): the rest of each stage \
            follows, cut to its end, when the stage ends]\n";
        let limit = || Limit::new(10, MemoryPool::default());
        assert_eq!(log(&mut limit(), 0, &["01234", "56789"]), "0123456789");
        assert_eq!(log(&mut limit(), 4, &["456789"]), "456789");
        assert_eq!(log(&mut limit(), 0, &["0123456789a"]), format!("0123456789{NOTICE}a"));
        let mut over = limit();
        let first = log(&mut over, 0, &["01234567", "89\nab\ncd\n", "ef\ngh\n"]);
        assert_eq!(first, format!("0123456789{NOTICE}[4 bytes are left out]\ncd\nef\ngh\n"));
        // The notice comes once, and the next stage's end follows.
        assert_eq!(log(&mut over, 500, &["second\n"]), "second\n");
        assert_eq!(log(&mut over, 500, &["a long line", ", or two\n"]), "[10 bytes are left out]\ne, or two\n");
        assert_eq!(log(&mut over, 500, &[]), "");
    }

    #[test]
    fn an_end_is_short_while_others_have_the_memory() {
        let memory = MemoryPool::new(END as u64);
        let new = || Limit::new(2 * END as u64, memory.clone());
        let (mut first, mut second) = (new(), new());
        let flood = |limit: &mut Limit| {
            limit.take(&vec![b'x'; 3 * END], 2 * END as u64);
            limit.end.len()
        };
        assert_eq!((flood(&mut first), flood(&mut second)), (END, SHORT_END));
        first.end();
        assert_eq!(flood(&mut second), END);
        assert_eq!(memory.usage().unwrap().0, END as u64);
        second.end();
        assert_eq!(memory.usage().unwrap().0, 0);
    }
}
