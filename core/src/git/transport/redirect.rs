//! Redirects of a server that gets a token. Git would follow them and send the token to wherever they lead: its library
//! drops the header for another host, but Git's next request goes there directly with the header (even with
//! `http.URL.extraHeader`, and with a credential helper for the first host alone; seen with 2.39 and 2.47). Git
//! therefore follows no redirect where there is a token. We follow those that stay on the same server, because a
//! renamed repository is such a redirect.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::remote::Remote;
use crate::git::{Fault, GitConfig, GitError};
use crate::outbound::{self, Route};

/// Path of Git's first request, below the repository's URL.
const FIRST: &str = "/info/refs?service=git-upload-pack";
const LIMIT: Duration = Duration::from_secs(30);

/// Returns the URL that the server redirects to, if Git says in `stderr` that it was redirected.
///
/// # Errors
/// The URL belongs to another server.
pub(in crate::git) async fn next(
    config: &GitConfig,
    remote: &Remote,
    stderr: &str,
) -> Result<Option<Remote>, GitError> {
    let sent_on = ["301", "302", "303", "307", "308"].iter().any(|code| {
        // A newer Git may end the line with other words.
        stderr.contains(&format!("The requested URL returned error: {code}"))
    });
    match remote.authorization.as_ref().and_then(|header| header.strip_prefix("Authorization: ")) {
        Some(authorization) if sent_on => {
            let place = ask(config, remote, authorization).await.map_err(|error| {
                let host = &remote.host;
                let message = format!("{host} sends us on, and where to cannot be read ({error}): try again");
                GitError { exit_code: 128, message, fault: Fault::Server }
            })?;
            place.map(|place| same_server(remote, &place)).transpose()
        }
        _ => Ok(None),
    }
}

async fn ask(config: &GitConfig, remote: &Remote, authorization: &str) -> Result<Option<String>, reqwest::Error> {
    let client = outbound::client(Route::Direct).timeout(LIMIT);
    let client = outbound::trust_bundle(client, config.access.cacert().as_deref())?;
    let mut authorization = match HeaderValue::from_str(authorization) {
        Ok(value) => value,
        Err(_) => return Ok(None), // Git did not send such a header either.
    };
    authorization.set_sensitive(true);
    let url = format!("{}{FIRST}", remote.url.trim_end_matches('/'));
    let answer = client.build()?.get(url).header(AUTHORIZATION, authorization).send().await?;
    Ok(outbound::location(&answer).map(String::from))
}

fn same_server(remote: &Remote, place: &str) -> Result<Remote, GitError> {
    let next = place.strip_suffix(FIRST).and_then(|url| Remote::parse(url).ok());
    match next {
        Some(mut next) if (next.protocol, &next.host) == (remote.protocol, &remote.host) && !next.has_login() => {
            next.authorization.clone_from(&remote.authorization);
            Ok(next)
        }
        _ => {
            // The message leaves out the query and the login of the URL, because they may be secret.
            let shown = reqwest::Url::parse(place).ok().and_then(|url| url.host_str().map(str::to_owned));
            Err(GitError::refused(format!(
                "{} sends us on to {}, which is not given the token: ask for the repository by its present name, or \
                 correct GIT_URL",
                remote.url,
                shown.as_deref().unwrap_or("another place")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stays_on_its_server() {
        let remote = Remote::parse("https://me:pw@example.com/acme/old.git").unwrap();
        let next = |place: &str| same_server(&remote, &format!("{place}{FIRST}"));
        let renamed = next("https://example.com/acme/new.git").unwrap();
        assert_eq!(renamed.url, "https://example.com/acme/new.git");
        assert_eq!(renamed.authorization, remote.authorization);
        for place in [
            "https://example.org/acme/new.git",
            "https://example.com:8443/acme/new.git",
            "https://sub.example.com/acme/new.git",
            "http://example.com/acme/new.git",
            "https://example.com@example.org/acme/new.git",
            "https://other:pw@example.com/acme/new.git",
            "file:///etc",
            "https://example.com",
        ] {
            let error = next(place).unwrap_err();
            assert!(error.message.contains("which is not given the token"), "{error}");
            assert!(!error.message.contains("pw"), "{error}");
        }
        assert!(same_server(&remote, "https://example.com/login").is_err());
    }
}
