//! Escapes text for HTML.

/// Escapes a text for the content of an HTML element, or for an attribute's value in quotes.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + text.len() / 8);
    text.chars().for_each(|c| push_escaped(&mut escaped, c));
    escaped
}

/// Appends one escaped character.
pub fn push_escaped(to: &mut String, c: char) {
    match c {
        '&' => to.push_str("&amp;"),
        '<' => to.push_str("&lt;"),
        '>' => to.push_str("&gt;"),
        '"' => to.push_str("&quot;"),
        '\'' => to.push_str("&#39;"),
        c => to.push(c),
    }
}
