use std::borrow::Cow;

/// Returns a name or message with the characters that change the order of those beside them written out, as in
/// `\u{202e}`, because a name such as `main` could be made to look like another one (Unicode Technical Report 36).
pub fn escape_bidi(text: &str) -> Cow<'_, str> {
    if !text.contains(is_bidi_control) {
        return text.into();
    }
    text.chars().map(|c| if is_bidi_control(c) { c.escape_unicode().to_string() } else { c.into() }).collect()
}

/// True for the characters with the property Bidi_Control (Unicode Standard Annex 9).
fn is_bidi_control(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_are_written_out_and_scripts_stay() {
        assert_eq!(escape_bidi("rel\u{202e}esaeler"), "rel\\u{202e}esaeler");
        assert_eq!(escape_bidi("\u{2066}a\u{2069}\u{200f}"), "\\u{2066}a\\u{2069}\\u{200f}");
        assert_eq!(escape_bidi("עברית ä 😀"), "עברית ä 😀");
    }
}
