use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Most headers that one answer gets, and most characters of each.
const MOST: usize = 10;
const LONGEST: usize = 200;

/// Adds a `Warning` header for each text (RFC 7234, code 299: a warning of any kind that stays). The texts name what a
/// request has and nobody reads, because totem passed over such names, too.
pub fn add(response: &mut Response, texts: impl IntoIterator<Item = String>) {
    for text in texts.into_iter().take(MOST) {
        let readable = |c: char| if matches!(c, ' '..='~') && !matches!(c, '"' | '\\') { c } else { '?' };
        let text: String = text.chars().take(LONGEST).map(readable).collect();
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(header::WARNING, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_end_its_header() {
        let mut response = Response::new(axum::body::Body::empty());
        add(&mut response, ["a\"b\\c\r\nX: é".into(), "x".repeat(300)].into_iter().chain(vec![String::new(); 20]));
        let values: Vec<_> = response.headers().get_all(header::WARNING).iter().collect();
        assert_eq!((values.len(), values[0].to_str().unwrap()), (10, "299 - \"a?b?c??X: ?\""));
        assert_eq!(values[1].len(), 208);
    }
}
