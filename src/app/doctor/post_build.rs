use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::ConfigVerifierExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Finding;
use crate::outbound::is_forbidden_target;
use crate::settings::{HttpUrl, Settings};

pub const NAME: &str = "hook";

/// Checks that the post-build hook's address is reached. Nothing is sent, because any request would be a hook.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    if settings.hook_post_url.0.is_empty() {
        return vec![Finding::ok(NAME, "no post-build hook: HOOK_POST_URL is not set")];
    }
    let each = settings.hook_post_url.0.iter().map(|url| check_one(&settings, url));
    futures_util::future::join_all(each).await
}

async fn check_one(settings: &Settings, url: &HttpUrl) -> Finding {
    // Only the host and port are shown, because the address may contain a token.
    let place =
        format!("{}:{}", url.0.host_str().unwrap_or_default(), url.0.port_or_known_default().unwrap_or_default());
    match connect(url, &place).await {
        Ok(()) if settings.post_build_secret().is_none() => Finding::warn(
            NAME,
            format!("{place} is reached, but post-build hooks are not signed: set HOOK_POST_SECRET, there too"),
        ),
        Ok(()) if settings.post_build_secret() == settings.hook_secret.as_ref() => Finding::warn(
            NAME,
            format!(
                "{place} is reached, and can forge a forge's webhooks, as HOOK_SECRET signs our hooks, too: set \
                 HOOK_POST_SECRET, there too"
            ),
        ),
        Ok(()) => Finding::ok(NAME, format!("{place} is reached")),
        Err(error) => {
            Finding::bad(NAME, format!("{place} is not reached: {error:#}; correct HOOK_POST_URL, or the server there"))
        }
    }
}

async fn connect(url: &HttpUrl, place: &str) -> anyhow::Result<()> {
    let addresses: Vec<_> = tokio::net::lookup_host(place).await?.collect();
    if let Some(address) = addresses.iter().find(|address| is_forbidden_target(address.ip())) {
        anyhow::bail!("it is at {}, which is refused", address.ip());
    }
    let stream = TcpStream::connect(addresses.as_slice()).await?;
    if url.0.scheme() == "https" {
        let name = url.0.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let config = ClientConfig::with_platform_verifier()?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(name)?, stream).await?;
    }
    Ok(())
}
