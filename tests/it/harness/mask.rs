use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

/// Patterns of text that differs from run to run, with their replacements.
const PATTERNS: [(&str, &str); 17] = [
    ("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
    ("sha256:[0-9a-f]{64}", "sha256:[digest]"),
    ("SHA256:[A-Za-z0-9+/]{43}", "SHA256:[fingerprint]"),
    ("[0-9a-f]{64}", "[sha256]"),
    ("[0-9a-f]{40}", "[commit]"),
    ("[0-9a-f]{32}", "[unique]"),
    ("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{8,}Z", "[time]"),
    // `port` gives out ports from 10000 on.
    ("(127[.]0[.]0[.]1|localhost)(\\]?):[0-9]{5}", "${1}${2}:[port]"),
    ("port [0-9]{5}", "port [port]"),
    // Git's user is the one who runs the tests.
    ("ssh://[a-z0-9_-]+@127", "ssh://[user]@127"),
    ("(/tmp/)?iftest-[A-Za-z0-9]{8}", "[folder]"),
    // Each version of these programs has words of its own: curl, its libraries for TLS, the name service, and Go.
    ("': (Failed to connect to|gnutls_handshake|[^)]*SSL).*[)]([;:]) ", "': [reason])${2} "),
    ("failed to lookup address information: [^;:)]*", "failed to lookup address information: [reason]"),
    ("received fatal alert: [A-Za-z]+", "received fatal alert: [alert]"),
    ("[0-9]{10} [(]UNIX[)]", "[time] (UNIX)"),
    ("[(][0-9]+ seconds ago[)]", "([age] ago)"),
    (" after [0-9.]+ ?m?s\\b", " after [duration]"),
];

/// Returns the text with what differs from run to run replaced, so that it can be compared with a snapshot. First each
/// value of the test becomes `[its name]`, so the snapshot proves that this value is in its place. Then other ids,
/// digests, commits, times, ports and folders become `[their kind]`.
pub fn masked(text: &str, values: &[(&str, &str)]) -> String {
    let text = values.iter().fold(text.to_owned(), |text, (value, name)| text.replace(value, &format!("[{name}]")));
    PATTERNS.iter().fold(text, |text, (pattern, replacement)| {
        match Regex::new(pattern).unwrap().replace_all(&text, *replacement) {
            Cow::Borrowed(_) => text,
            Cow::Owned(changed) => changed,
        }
    })
}

/// Returns the JSON in lines of its own, as `masked` leaves it.
pub fn masked_json(value: &Value, values: &[(&str, &str)]) -> String {
    masked(&serde_json::to_string_pretty(value).unwrap(), values)
}
