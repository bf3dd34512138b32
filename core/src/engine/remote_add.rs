//! Refuses a Dockerfile whose variables grow too long, and an `ADD` that would have the engine fetch from a private network.
//!
//! *Problem.* The engine fetches what `ADD` names from where it runs. So a Dockerfile can put into an image what a service on
//! loopback, a cloud's metadata or a machine behind the firewall answers.
//!
//! *Decision.* The Dockerfile is read before the build, and each host is looked up. The operator allows hosts by
//! ADD_HOSTS_ALLOWED.
//!
//! *Evidence.* `tests/it/network.rs` on Docker 20.10 and 26.1. What cannot be seen in this way is in docs/attacks.md.
//!
//! *Would change if* engines took a rule for what they fetch.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Url;
use tokio::time::timeout;

use super::advice::{self, with_cure};
use super::api::errors::EngineError;
use super::api::kind::ErrorKind;
use crate::model::{AllowedHosts, MOST_GROWTH, overgrown_line, remote_sources};
use crate::outbound::{addresses, is_private_or_local};

/// Number of hosts that a Dockerfile may name in all, because each is looked up.
const MAX_HOSTS: usize = 100;
const LOOKUPS_AT_ONCE: usize = 8;
/// Time for one look-up. A host that is not found in it is left to the engine.
const LOOKUP: Duration = Duration::from_secs(5);

/// Refuses a Dockerfile with an `ADD` from a host that is private, as far as the text says it.
///
/// # Errors
/// The kind is `Build`, and the message has the line.
pub async fn refuse_private_sources(
    dockerfile: &str,
    build_args: &BTreeMap<String, String>,
    allowed: &AllowedHosts,
) -> Result<(), EngineError> {
    let refuse =
        |advice, values: &[&dyn std::fmt::Display]| Err(EngineError::new(ErrorKind::Build, with_cure(advice, values)));
    let (text, args) = (dockerfile.to_owned(), build_args.clone());
    // Reading a megabyte of hostile variables takes a second.
    let sources = tokio::task::spawn_blocking(move || remote_sources(&text, &args)).await;
    let mut hosts = BTreeMap::new();
    for source in sources.unwrap_or_default() {
        match host(&source.url) {
            Some(host) => {
                hosts.entry(host).or_insert(source.line);
            }
            None if source.is_known => return refuse(&advice::NO_ADDRESS, &[&source.line]),
            None => {}
        }
    }
    if hosts.len() > MAX_HOSTS {
        return refuse(&advice::MANY_HOSTS, &[&MAX_HOSTS]);
    }
    hosts.retain(|host, _| !allowed.has_name(host));
    let looked_up = hosts.into_iter().map(|(host, line)| async move {
        let found = timeout(LOOKUP, addresses(&host)).await;
        (line, host, found.ok().and_then(Result::ok).unwrap_or_default())
    });
    let is_refused = |address: &&IpAddr| is_private_or_local(**address) && !allowed.has_address(**address);
    let mut looked_up = stream::iter(looked_up).buffer_unordered(LOOKUPS_AT_ONCE);
    let mut refused = BTreeSet::new();
    while let Some((line, host, addresses)) = looked_up.next().await {
        refused.extend(addresses.iter().find(is_refused).map(|address| (line, host, *address)));
    }
    match refused.first() {
        Some((line, host, address)) if *host == address.to_string() => refuse(&advice::PRIVATE_ADDRESS, &[line, host]),
        Some((line, host, address)) => refuse(&advice::PRIVATE_HOST, &[line, host, address]),
        None => Ok(()),
    }
}

/// Refuses a Dockerfile whose variables would keep the engine busy without an end.
///
/// # Errors
/// The kind is `Build`, and the message has the line.
pub fn refuse_overgrown(dockerfile: &str, build_args: &BTreeMap<String, String>) -> Result<(), EngineError> {
    match overgrown_line(dockerfile, build_args) {
        Some(line) => Err(EngineError::new(ErrorKind::Build, with_cure(&advice::GROWN, &[&MOST_GROWTH, &line]))),
        None => Ok(()),
    }
}

/// Returns the host of an address, an IPv6 one without brackets.
fn host(address: &str) -> Option<String> {
    let host = match address.split_once("://") {
        // Hosts are read in one way, whatever the scheme is: as `http` has them, where `127.1` is an address.
        Some((_, rest)) => Url::parse(&format!("http://{rest}")).ok()?.host_str()?.to_owned(),
        None => address.split_once('@')?.1.split_once(':')?.0.to_owned(),
    };
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(source: &str, allowed: &[&str]) -> Result<(), String> {
        let dockerfile = format!("FROM a\nADD {source} /\n");
        let allowed = AllowedHosts::parse(allowed.iter().copied()).unwrap();
        refuse_private_sources(&dockerfile, &BTreeMap::new(), &allowed).await.map_err(|error| error.message)
    }

    #[tokio::test]
    async fn private_hosts_are_refused_unless_they_are_allowed() {
        for (source, shown) in [
            ("http://169.254.169.254/latest/", "169.254.169.254"),
            ("https://user:secret@10.0.0.1:8443/x", "10.0.0.1"),
            ("http://[::1]:2379/v2/keys", "::1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:7f00:1"),
            ("http://0x7f.1/", "127.0.0.1"),
            ("http://LOCALHOST./x", "localhost"),
            ("http://127.0.0.1$UNKNOWN/x", "127.0.0.1"),
            ("git://127.1/a.git", "127.0.0.1"),
            ("git@localhost:a.git", "localhost"),
        ] {
            let refused = check(source, &[]).await.unwrap_err();
            assert!(refused.contains("line 2") && refused.contains(shown) && !refused.contains("secret"), "{refused}");
        }
        assert!(check("http://localhost/x", &["localhost"]).await.is_ok());
        assert!(check("http://localhost/x", &["127.0.0.0/8", "::1"]).await.is_ok());
        assert!(check("http://10.1.2.3/x", &["10.1.0.0/16"]).await.is_ok());
        assert!(check("http://$UNKNOWN/x", &[]).await.is_ok());
        assert!(check("https://140.82.121.3/x", &[]).await.is_ok());
        assert!(check("http://nobody.invalid/x", &[]).await.is_ok());
        let localhost = check("http://localhost/x", &[]).await.unwrap_err().replace("::1", "127.0.0.1");
        insta::assert_snapshot!(localhost, @"ADD in line 2 fetches from localhost, which is in a private network (127.0.0.1): put the file into the repository, or have the operator add the host to ADD_HOSTS_ALLOWED");
        let unreadable = check("http://a:b:c/x", &[]).await.unwrap_err();
        insta::assert_snapshot!(unreadable, @"ADD in line 2 has an address that cannot be read: correct the address");
        let many: Vec<_> = (0..=MAX_HOSTS).map(|n| format!("http://{n}.invalid/")).collect();
        let many = check(&many.join(" "), &[]).await.unwrap_err();
        insta::assert_snapshot!(many, @"ADD names more than 100 hosts: fetch from fewer hosts");
    }
}
