use std::sync::Arc;

use super::{Finding, disk};
use crate::app::startup;
use crate::engine::{Engine, Host};
use crate::settings::{BuilderChoice, Settings};

pub const NAME: &str = "engine";

/// The engine answers, can build, and has room.
pub async fn check(settings: Arc<Settings>) -> Vec<Finding> {
    let host = match startup::engine_host(&settings) {
        Ok(host) => host,
        Err(error) => return vec![Finding::bad(NAME, format!("{error:#}"))],
    };
    let is_here = matches!(host, Host::Unix(_));
    let engine = Engine::new(host);
    let report = match engine.doctor().await {
        Ok(report) => report,
        Err(error) => return vec![Finding::bad(NAME, error.message)],
    };
    let what = format!("Docker Engine {} (API {}) at {}", report.version, report.api_version, settings.docker_host);
    let mut findings = vec![match (report.buildkit, settings.builder) {
        (false, BuilderChoice::Buildkit) => {
            Finding::bad(NAME, format!("{what} has no BuildKit: use 18.09 or newer, or set BUILDER=auto"))
        }
        (false, _) | (_, BuilderChoice::Classic) => Finding::ok(NAME, format!("{what}, with its classic builder")),
        _ => Finding::ok(NAME, what),
    }];
    findings.extend(report.notes.into_iter().map(|note| Finding::warn(NAME, note)));
    match engine.machine().await {
        // Where the engine is another machine, or outside of our container, its folder is not here.
        Ok(machine) if is_here && machine.data_root.is_dir() => findings.extend(room(&machine.data_root)),
        Ok(_) => {}
        Err(error) => findings.push(Finding::bad(NAME, error.message)),
    }
    findings
}

fn room(data_root: &std::path::Path) -> Option<Finding> {
    let (shown, disk) = (data_root.display(), disk::look(data_root).ok()?);
    Some(match disk.is_scarce() {
        true => Finding::warn(NAME, format!("its folder {shown} has {disk}: `docker system df` shows what takes it")),
        false => Finding::ok(NAME, format!("its folder {shown} has {disk}")),
    })
}
