/// One row of docs/troubleshooting.md: a message that users meet, and what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Advice {
    /// The failure class or error code that comes with the message.
    pub code: &'static str,
    /// The message, with `…` for what differs from case to case.
    pub text: &'static str,
    /// What is the matter when the message appears.
    pub cause: &'static str,
    /// The move, and whose it is.
    pub cure: &'static str,
}
