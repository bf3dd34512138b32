use http_auth::{ChallengeRef, parser::ChallengeParser};
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

use crate::model::AllowedHosts;
use crate::outbound::{is_loopback, literal};

/// The login that a registry asks for in `WWW-Authenticate` (RFC 7235; the bearer form is distribution's "Token
/// Authentication Specification").
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer(Realm),
}

/// A server that gives tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Realm {
    pub url: Url,
    pub service: Option<String>,
}

impl Challenge {
    /// Returns the known challenges, bearer before basic.
    pub fn read(headers: &HeaderMap) -> Vec<Self> {
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let all: Vec<ChallengeRef> = texts.flat_map(|text| ChallengeParser::new(text).map_while(Result::ok)).collect();
        let has_basic = all.iter().any(|c| c.scheme.eq_ignore_ascii_case("basic"));
        let bearer = all.iter().filter(|c| c.scheme.eq_ignore_ascii_case("bearer")).filter_map(|challenge| {
            let value = |name: &str| {
                let param = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
                param.map(|(_, value)| value.to_unescaped())
            };
            let url = value("realm").and_then(|realm| Url::parse(&realm).ok()).filter(Url::has_host)?;
            Some(Self::Bearer(Realm { url, service: value("service") }))
        });
        bearer.chain(has_basic.then_some(Self::Basic)).collect()
    }

    /// Returns the server that gives the tokens which the challenge asks for.
    pub fn realm(&self) -> Option<&Realm> {
        match self {
            Self::Basic => None,
            Self::Bearer(realm) => Some(realm),
        }
    }
}

impl Realm {
    pub fn host(&self) -> &str {
        self.url.host_str().unwrap_or_default()
    }

    /// Returns whether the realm may see the credentials of a registry: by https if it is the same host (on any port), has
    /// the same registered domain, as Docker Hub's pair has, or is allowed, and by plain HTTP only on loopback.
    pub fn may_see_credentials_of(&self, registry: &Url, allowed: &AllowedHosts) -> bool {
        let host = registry.host_str().unwrap_or_default();
        let have_one_domain = || match (psl::domain_str(self.host()), psl::domain_str(host)) {
            (Some(ours), Some(its)) => ours == its && literal(&self.url).is_none() && literal(registry).is_none(),
            _ => false,
        };
        let is_allowed = allowed.has_name(self.host()) || literal(&self.url).is_some_and(|ip| allowed.has_address(ip));
        match self.url.scheme() {
            "https" => self.host() == host || have_one_domain() || is_allowed,
            "http" => (self.host() == host || is_allowed) && is_loopback(&self.url),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenge::read(&headers)
    }

    fn realm(url: &str) -> Realm {
        Realm { url: Url::parse(url).unwrap(), service: None }
    }

    #[test]
    fn challenges_of_registries_are_read() {
        let hub = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#;
        let url = Url::parse("https://auth.docker.io/token").unwrap();
        let bearer = Challenge::Bearer(Realm { url, service: Some("registry.docker.io".into()) });
        assert_eq!(read(&[hub]), std::slice::from_ref(&bearer));
        let both = [bearer.clone(), Challenge::Basic];
        assert_eq!(read(&["Basic realm=\"x\"", hub]), both);
        assert_eq!(read(&[&format!("basic realm=\"a, b\", {hub},scope=\"repository:a/b:pull,push\"")]), both);
        assert_eq!(read(&["BASIC realm=\"ECR\",service=\"x\""]), [Challenge::Basic]);
        assert_eq!(read(&["Bearer realm=\"token\"", "Basic realm=x"]), [Challenge::Basic]);
        let elsewhere = read(&[hub, "Bearer realm=\"https://evil.example/token\""]);
        assert_eq!(elsewhere.iter().filter_map(Challenge::realm).next_back().unwrap().host(), "evil.example");
        for none in [&[][..], &["Negotiate"], &["Bearer service=\"x\""], &["Bearer realm=\"/token\""], &["\"\""]] {
            assert_eq!(read(none), [], "{none:?}");
        }
    }

    /// The realms are those that the registries had in 2026.
    #[test]
    fn credentials_stay_with_their_registry() {
        for (registry, token_server) in [
            ("https://registry-1.docker.io/v2/", "https://auth.docker.io/token"),
            ("https://quay.io/v2/", "https://quay.io/v2/auth"),
            ("https://ghcr.io/v2/", "https://ghcr.io/token"),
            ("https://registry.gitlab.com/v2/", "https://gitlab.com/jwt/auth"),
            ("https://registry.example.co.uk/v2/", "https://gitlab.example.co.uk/jwt/auth"),
            ("https://my.azurecr.io/v2/", "https://my.azurecr.io/oauth2/token"),
            ("https://10.0.0.1:5000/v2/", "https://10.0.0.1:5001/auth"),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5001/auth"),
            ("http://localhost:5000/v2/", "https://localhost/auth"),
        ] {
            assert!(
                realm(token_server).may_see_credentials_of(&Url::parse(registry).unwrap(), &AllowedHosts::default()),
                "{registry} {token_server}"
            );
        }
        for (registry, token_server) in [
            ("https://registry.example.com/v2/", "https://evil.example/token"),
            ("https://registry.example.com/v2/", "https://example.com.evil.org/token"),
            ("https://registry.example.com/v2/", "http://registry.example.com/token"),
            ("https://example.co.uk/v2/", "https://evil.co.uk/token"),
            ("https://my.github.io/v2/", "https://evil.github.io/token"),
            ("https://10.0.0.1/v2/", "https://11.0.0.1/token"),
            ("http://127.0.0.1:5000/v2/", "http://127.0.0.2:5000/token"),
            ("http://127.0.0.1:5000/v2/", "http://169.254.169.254/token"),
            ("http://127.0.0.1:5000/v2/", "file://127.0.0.1/etc/passwd"),
            ("https://registry/v2/", "https://token/auth"),
        ] {
            assert!(
                !realm(token_server).may_see_credentials_of(&Url::parse(registry).unwrap(), &AllowedHosts::default()),
                "{registry} {token_server}"
            );
        }
    }

    #[test]
    fn an_operator_allows_token_servers_by_name_and_with_tls() {
        let allowed = AllowedHosts::parse(["auth.example.org", "10.0.0.0/24", "127.0.0.2"]).unwrap();
        for (token_server, is_allowed) in [
            ("https://AUTH.example.org:8443/token", true),
            ("https://10.0.0.9/token", true),
            ("http://127.0.0.2:5001/token", true),
            ("https://other.example.org/token", false),
            ("https://10.0.1.9/token", false),
            ("http://auth.example.org/token", false),
            ("http://10.0.0.9/token", false),
        ] {
            let registry = Url::parse("https://registry.example.com/v2/").unwrap();
            assert_eq!(realm(token_server).may_see_credentials_of(&registry, &allowed), is_allowed, "{token_server}");
        }
    }

    proptest! {
        #[test]
        fn no_header_makes_it_panic(text in "[ -~]{0,60}") {
            read(&[&text]);
        }
    }
}
