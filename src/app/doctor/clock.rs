use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::join_all;
use reqwest::Url;
use reqwest::header::DATE;

use super::secrets::Live;
use super::{Finding, engine};
use crate::engine::{Engine, Host};
use crate::model::{ImageRef, Millis};
use crate::outbound::{self, Route};
use crate::settings::Settings;

pub const NAME: &str = "clock";

/// Greatest difference that is no finding. Tokens of registries and of GitHub Apps are valid from the second in which they
/// were made, give or take a minute.
const MOST_MILLIS: i64 = 30_000;

/// Time for an answer. A server that is slower is left out, because others may answer.
const ANSWER: Duration = Duration::from_secs(10);

/// Checks that the clock agrees with the clocks of the registry, of a Git host on the web and of engines on other machines.
pub async fn check(settings: Arc<Settings>, live: Live) -> Vec<Finding> {
    let urls = urls(&settings);
    let web = join_all(urls.iter().map(|url| async move { Some((url.clone(), date(url).await?)) }));
    let (_dir, hosts) = engine::hosts(&settings, live).await.unwrap_or_default();
    let engines = join_all(hosts.into_iter().filter(|host| !matches!(host, Host::Unix(_))).map(engine_clock));
    let (web, engines) = tokio::join!(web, engines);
    let differences = web.into_iter().chain(engines).flatten();
    vec![match differences.max_by_key(|(_, difference)| difference.abs()) {
        None => Finding::warn(
            NAME,
            format!("the clock was not compared, because {} gave no time: compare it by hand", urls.join(", ")),
        ),
        Some((who, difference)) if difference.abs() > MOST_MILLIS => {
            let (seconds, way) = (difference.abs() / 1000, if difference > 0 { "ahead of" } else { "behind" });
            Finding::warn(NAME, format!("{seconds} s {way} {who}: set it by NTP, or logins and TLS may fail"))
        }
        Some((who, _)) => Finding::ok(NAME, format!("as that of {who}")),
    }]
}

fn urls(settings: &Settings) -> Vec<String> {
    let base = &settings.docker_repo_base;
    let registry = ImageRef::parse(&format!("{base}/any:any")).map(|image| image.registry().to_owned());
    let registry = registry.ok().map(|host| registry_url(&host));
    let git = match settings.git_url.as_ref().map(|url| url.0.as_str()) {
        None => Some("https://github.com/".to_owned()),
        Some(url) if url.starts_with("http") => {
            Url::parse(url).ok().map(|url| format!("{}/", url.origin().ascii_serialization()))
        }
        Some(_) => None,
    };
    registry.into_iter().chain(git).collect()
}

/// Returns the address of a registry's API. A registry on loopback may have no TLS, because Docker needs none there.
fn registry_url(host: &str) -> String {
    let url = |scheme: &str| format!("{scheme}://{host}/v2/");
    let is_local = Url::parse(&url("https")).is_ok_and(|url| outbound::is_loopback(&url));
    url(if is_local { "http" } else { "https" })
}

/// Returns the milliseconds by which this clock is ahead of a web server's; `None` if the server does not tell the time.
async fn date(url: &str) -> Option<i64> {
    // No certificate is checked, because a good one looks expired to a wrong clock, and only the time is read here.
    let http = outbound::client(Route::Environment).tls_danger_accept_invalid_certs(true);
    let http = http.timeout(ANSWER).build().ok()?;
    let answer = http.head(url).send().await.ok()?;
    let date = httpdate::parse_http_date(answer.headers().get(DATE)?.to_str().ok()?).ok()?;
    let date = date.duration_since(UNIX_EPOCH).ok()?;
    Some(Millis::now().0 - date.as_millis() as i64)
}

/// Returns the same for an engine on another machine. An engine on a socket has this machine's clock.
async fn engine_clock(host: Host) -> Option<(String, i64)> {
    let name = host.to_string();
    let machine = Engine::new(host).machine().await.ok()?;
    Some((name, Millis::now().0 - machine.clock.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_is_asked_by_http_on_loopback_alone() {
        for (host, expected) in [
            ("localhost:5000", "http://localhost:5000/v2/"),
            ("127.0.0.2:5000", "http://127.0.0.2:5000/v2/"),
            ("localhost.example.com", "https://localhost.example.com/v2/"),
            ("127.example.com", "https://127.example.com/v2/"),
            ("quay.io", "https://quay.io/v2/"),
        ] {
            assert_eq!(registry_url(host), expected);
        }
    }
}
