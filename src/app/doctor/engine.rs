use std::sync::Arc;

use futures_util::future::join_all;
use tempfile::TempDir;

use super::secrets::{Live, loaded};
use super::{Finding, room};
use crate::app::assemble;
use crate::app::data_dir::temporary_dir;
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
    let dir = temporary_dir()?;
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
    let store = if report.has_containerd_store { ", containerd's image store" } else { "" };
    let what = format!("{} (API {}{store}) at {name}", report.name, report.api_version);
    let mut findings = vec![match (report.buildkit, settings.builder) {
        (false, Builder::Buildkit) => {
            Finding::bad(NAME, format!("{what} has no BuildKit: use 18.09 or newer, or set BUILDER=auto"))
        }
        (false, _) | (_, Builder::Classic) => {
            let builder = if report.is_podman { "own" } else { "classic" };
            Finding::ok(NAME, format!("{what}, with its {builder} builder"))
        }
        _ => Finding::ok(NAME, what),
    }];
    findings.extend(kept(&engine).await);
    findings.extend(report.notes.into_iter().map(|note| Finding::warn(NAME, note)));
    match engine.folders().await {
        Ok(folders) => findings.extend(folders.iter().map(|folder| {
            let what = format!("its folder {} has", folder.display());
            let advice = "`docker system df` shows what takes it";
            room::judge(NAME, &what, folder, &assemble::engine::floor(settings), advice)
        })),
        Err(error) => findings.push(Finding::bad(NAME, error.message)),
    }
    findings
}

/// Says which containers of tests are kept on the engine, and which of them have secrets in their configuration.
async fn kept(engine: &Engine) -> Vec<Finding> {
    let kept = match engine.kept().await {
        Ok(kept) => kept,
        Err(error) => return vec![Finding::warn(NAME, format!("kept containers cannot be listed: {error}"))],
    };
    let Some(oldest) = kept.last() else { return Vec::new() };
    let jobs = kept.iter().map(|container| container.job.as_str()).collect::<Vec<_>>().join(", ");
    let mut findings = vec![Finding::ok(
        NAME,
        format!("{} containers of tests are kept there, the oldest since {}: {jobs}", kept.len(), oldest.created),
    )];
    findings.extend(kept.iter().filter_map(|container| {
        let (job, names) = (&container.job, container.hook_env.as_ref()?);
        let cure = "remove it by `docker rm`, or give the image a /bin/sh";
        Some(Finding::warn(NAME, format!("the container {job} has the values of {names} in its configuration: {cure}")))
    }));
    findings
}
