use reqwest::header::LOCATION;
use reqwest::{Response, Url};

/// Returns the URL that an answer's `Location` names, if it names one.
pub fn location(response: &Response) -> Option<Url> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    response.url().join(location).ok()
}

/// Returns whether a redirect from `from` to `to` stays on the server, so that a token may go along: the same scheme,
/// host and port, and no login in the URL.
pub fn stays_on_origin(from: &Url, to: &Url) -> bool {
    to.origin() == from.origin() && to.username().is_empty() && to.password().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let from = Url::parse("https://api.example.com/repos/old").unwrap();
        for (to, stays) in [
            ("https://api.example.com/repos/new", true),
            ("https://api.example.com:443/", true),
            ("http://api.example.com/", false),
            ("https://api.example.com:8443/", false),
            ("https://example.com/", false),
            ("https://me@api.example.com/", false),
            ("https://:pw@api.example.com/", false),
        ] {
            assert_eq!(stays_on_origin(&from, &Url::parse(to).unwrap()), stays, "{to}");
        }
    }
}
