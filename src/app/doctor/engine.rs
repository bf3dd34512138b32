use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::secrets::{Live, loaded};
use super::{Finding, room};
use crate::app::assemble;
use crate::engine::{Engine, Host};
use crate::model::Builder;
use crate::settings::Settings;

pub const NAME: &str = "engine";

/// Checks that each engine answers, can build and has room. One engine that is well is enough to build.
pub async fn check(settings: Arc<Settings>, live: Live) -> Vec<Finding> {
    let (_dir, hosts) = match hosts(&settings, live).await {
        Ok(found) => found,
        Err(error) => return vec![Finding::bad(NAME, format!("{error:#}"))],
    };
    let found = join_all(hosts.into_iter().map(|host| examine(&settings, host))).await;
    found.into_iter().flatten().collect()
}

/// Returns the engines' addresses. Those that are reached by ssh are reached by sockets in a folder, which lasts as long as
/// the first value; they need the secrets, which have the key.
pub async fn hosts(settings: &Settings, live: Live) -> anyhow::Result<(Option<TempDir>, Vec<Host>)> {
    let hosts = assemble::engine::hosts(settings, None)?;
    if !hosts.iter().any(|host| matches!(host, Host::Ssh(_))) {
        return Ok((None, hosts));
    }
    loaded(live.clone()).await;
    let dir = tempfile::Builder::new().prefix("ifdoctor").tempdir()?;
    let known_hosts = assemble::git::known_hosts(settings, dir.path())?;
    let ssh = assemble::engine::ssh_access(settings, dir.path(), &known_hosts, live)?;
    Ok((Some(dir), assemble::engine::hosts(settings, Some(ssh))?))
}

async fn examine(settings: &Settings, host: Host) -> Vec<Finding> {
    let name = host.to_string();
    let engine = Engine::new(host);
    let report = match engine.doctor().await {
        Ok(report) => report,
        Err(error) => return vec![Finding::bad(NAME, error.message)],
    };
    let what = format!("Docker Engine {} (API {}) at {name}", report.version, report.api_version);
    let mut findings = vec![match (report.buildkit, settings.builder) {
        (false, Builder::Buildkit) => {
            Finding::bad(NAME, format!("{what} has no BuildKit: use 18.09 or newer, or set BUILDER=auto"))
        }
        (false, _) | (_, Builder::Classic) => Finding::ok(NAME, format!("{what}, with its classic builder")),
        _ => Finding::ok(NAME, what),
    }];
    findings.extend(report.notes.into_iter().map(|note| Finding::warn(NAME, note)));
    match engine.folder().await {
        Ok(Some(folder)) => {
            let what = format!("its folder {} has", folder.display());
            let advice = "`docker system df` shows what takes it";
            findings.push(room::judge(NAME, &what, &folder, &assemble::engine::floor(settings), advice));
        }
        Ok(None) => {}
        Err(error) => findings.push(Finding::bad(NAME, error.message)),
    }
    findings
}
