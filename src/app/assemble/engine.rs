use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::watch;

use super::{git, pool_file};
use crate::disk::Floor;
use crate::engine::{CopiedPath, Engine, Host, KeepLimits, NoCopy, Pool, SshAccess};
use crate::http::{EngineHandle, NoFile, OpenedFile};
use crate::registry::Registries;
use crate::secrets::Secrets;
use crate::settings::{ContainerKeep, Days, Settings};
use crate::ssh::SshHosts;

/// Number of jobs at once where neither CONCURRENCY nor an engine has one.
const CONCURRENCY: usize = 2;

/// An engine as the settings name it.
pub struct EngineSpec {
    pub host: Host,
    /// Number of jobs that it may have at once.
    pub slots: Option<usize>,
}

/// Returns what ssh needs to reach engines. Its sockets are in a new folder in `run_dir`.
pub fn ssh_access(
    settings: &Settings,
    run_dir: &Path,
    known_hosts: &Path,
    secrets: watch::Receiver<Arc<Secrets>>,
) -> anyhow::Result<Arc<SshAccess>> {
    let run_dir = run_dir.join("engines");
    let made = fs::DirBuilder::new().mode(0o700).create(&run_dir);
    made.with_context(|| format!("cannot make {}", run_dir.display()))?;
    let hosts = SshHosts([known_hosts.to_owned()].into_iter().chain(git::added_hosts(settings)).collect());
    Ok(Arc::new(SshAccess { run_dir, hosts, secrets }))
}

/// Returns the engines, with the builder that BUILDER selects. They get the logins that these registries allow.
pub fn engines(settings: &Settings, ssh: Arc<SshAccess>, registries: &Arc<Registries>) -> anyhow::Result<Vec<Engine>> {
    let engine = |EngineSpec { host, slots }| {
        let engine = Engine::new(host).with_builder(settings.builder).with_slots(slots);
        engine.with_registries(registries.clone())
    };
    Ok(specs(settings, Some(ssh))?.into_iter().map(engine).collect())
}

/// Returns the number of jobs that run at once: CONCURRENCY, else the sum of the engines' slots, else 2.
pub fn concurrency(settings: &Settings) -> anyhow::Result<usize> {
    let slots = || Ok::<_, anyhow::Error>(specs(settings, None)?.iter().map(|spec| spec.slots).sum::<Option<usize>>());
    Ok(match settings.concurrency {
        Some(number) => number as usize,
        None => slots()?.unwrap_or(CONCURRENCY),
    })
}

/// Returns the addresses of the engines. Without `ssh` they are checked alone.
pub fn hosts(settings: &Settings, ssh: Option<Arc<SshAccess>>) -> anyhow::Result<Vec<Host>> {
    Ok(specs(settings, ssh)?.into_iter().map(|spec| spec.host).collect())
}

/// Returns the engines as the settings name them: at least one, no address twice, and all or none with a number of slots.
fn specs(settings: &Settings, ssh: Option<Arc<SshAccess>>) -> anyhow::Result<Vec<EngineSpec>> {
    let (name, addresses) = match (settings.docker_hosts.0.as_slice(), &settings.pool_file) {
        ([], None) => ("DOCKER_HOST", vec![settings.docker_host.clone()]),
        ([], Some(file)) => ("POOL_FILE", pool_file::addresses(file)?),
        (several, None) => ("DOCKER_HOSTS", several.to_vec()),
        (_, Some(_)) => anyhow::bail!("DOCKER_HOSTS and POOL_FILE both name engines: unset one of them"),
    };
    let mut specs: Vec<EngineSpec> = Vec::new();
    for entry in &addresses {
        let spec = spec(settings, ssh.clone(), entry)
            .map_err(|why| anyhow::anyhow!("{name}={entry:?} cannot be used: {why}"))?;
        let is_twice = specs.iter().any(|other| other.host == spec.host);
        anyhow::ensure!(!is_twice, "{name} has {:?} twice: an engine is named once", spec.host.to_string());
        specs.push(spec);
    }
    let numbered = specs.iter().filter(|spec| spec.slots.is_some()).count();
    anyhow::ensure!(
        numbered == 0 || numbered == specs.len(),
        "{name} has slots for some engines and not for others: give each engine its ;slots=N, or none"
    );
    Ok(specs)
}

/// Reads `address` or `address;slots=N`. The error ends a sentence.
fn spec(settings: &Settings, ssh: Option<Arc<SshAccess>>, entry: &str) -> Result<EngineSpec, String> {
    let (address, slots) = match entry.split_once(';') {
        None => (entry, None),
        Some((address, option)) => {
            let number = option.trim().strip_prefix("slots=").and_then(|number| number.parse::<u16>().ok());
            let number = number.filter(|number| (1..=1000).contains(number));
            (address.trim(), Some(number.ok_or("write a number from 1 to 1000 behind the address, as in ;slots=4")?))
        }
    };
    Ok(EngineSpec { host: Host::new(address, settings.docker_certs(), ssh)?, slots: slots.map(usize::from) })
}

/// Returns the room that must be free before a job starts.
pub fn floor(settings: &Settings) -> Floor {
    Floor { bytes: settings.disk_floor.0, inodes: settings.inode_floor }
}

/// Returns how many containers of tests stay, and for how long.
pub fn keep(settings: &Settings) -> KeepLimits {
    let ContainerKeep { age, number } = settings.keep_containers;
    KeepLimits { age: age.map(Days::duration), number }
}

/// Returns what the API sees of the engines, and can ask of them.
pub fn handle(pool: &Arc<Pool>) -> EngineHandle {
    let [states, usage, cordons, files] = [pool.clone(), pool.clone(), pool.clone(), pool.clone()];
    EngineHandle {
        states: Arc::new(move || states.states()),
        usage: Arc::new(move || {
            let pool = usage.clone();
            Box::pin(async move { pool.usage().await })
        }),
        open_file: Arc::new(move |engine, job, path| {
            let pool = files.clone();
            Box::pin(async move { opened(pool.copy_out(&engine, job, &path).await) })
        }),
        set_cordon: Arc::new(move |name, cordon| cordons.set_cordon(name, cordon)),
    }
}

fn opened(copied: Result<CopiedPath, NoCopy>) -> Result<OpenedFile, NoFile> {
    match copied {
        Ok(CopiedPath { size, body }) => Ok(OpenedFile { size, body: body.map_err(|error| error.to_string()).boxed() }),
        Err(NoCopy::Container) => Err(NoFile::Container),
        Err(NoCopy::Path) => Err(NoFile::Path),
        Err(NoCopy::Special) => Err(NoFile::Special),
        Err(NoCopy::Engine(error)) => Err(NoFile::Engine(error.message)),
    }
}
