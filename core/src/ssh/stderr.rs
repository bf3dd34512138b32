//! Facts read from what ssh writes to stderr.

/// Returns the lines that may give a reason. ssh's warnings are left out, because the one about key exchanges that a
/// quantum computer could break has three lines and comes with every connection to an older server.
pub fn reasons(stderr: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    let lines = stderr.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("**") && !line.starts_with("Warning: "))
}

/// Returns true if the server refused the key that it was shown, or a login without a key.
pub fn is_key_refusal(stderr: &str) -> bool {
    reasons(stderr).any(|line| KEY_REFUSALS.iter().any(|words| line.contains(words)))
}

pub const KEY_REFUSALS: [&str; 2] = ["Permission denied (", "Too many authentication failures"];
