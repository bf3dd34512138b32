use std::fmt::{Display, Write as _};

/// One row of docs/troubleshooting.md: a message that users meet, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The failure class or error code that comes with the message; empty for a message at the start.
    pub code: &'static str,
    /// The message, with `…` for what differs from case to case.
    pub text: &'static str,
    /// What is the matter when the message appears.
    pub cause: &'static str,
    /// The move, and whose it is.
    pub cure: &'static str,
}

impl Advice {
    /// Returns the message with `details` in the places of its `…`, in order.
    pub fn fill(&self, details: &[&dyn Display]) -> String {
        let mut message = String::with_capacity(self.text.len() + 32 * details.len());
        let mut parts = self.text.split('…');
        message.push_str(parts.next().unwrap_or_default());
        for (part, detail) in parts.zip(details) {
            let _ = write!(message, "{detail}{part}");
        }
        message
    }
}
