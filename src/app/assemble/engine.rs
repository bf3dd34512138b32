use std::sync::Arc;

use crate::disk::Floor;
use crate::engine::{Engine, Host, Pool};
use crate::http::EngineHandle;
use crate::settings::Settings;

/// Number of jobs at once where neither CONCURRENCY nor an engine has one.
const CONCURRENCY: usize = 2;

/// An engine as the settings name it.
pub struct EngineSpec {
    pub host: Host,
    /// Number of jobs that it may have at once.
    pub slots: Option<usize>,
}

/// Returns the engines, with the builder that BUILDER selects.
pub fn engines(settings: &Settings) -> anyhow::Result<Vec<Engine>> {
    let engine = |EngineSpec { host, slots }| Engine::new(host).with_builder(settings.builder).with_slots(slots);
    Ok(specs(settings)?.into_iter().map(engine).collect())
}

/// Returns the number of jobs that run at once: CONCURRENCY, else the sum of the engines' slots, else 2.
pub fn concurrency(settings: &Settings) -> anyhow::Result<usize> {
    let slots = || Ok::<_, anyhow::Error>(specs(settings)?.iter().map(|spec| spec.slots).sum::<Option<usize>>());
    Ok(match settings.concurrency {
        Some(number) => number as usize,
        None => slots()?.unwrap_or(CONCURRENCY),
    })
}

/// Returns the addresses of the engines.
pub fn hosts(settings: &Settings) -> anyhow::Result<Vec<Host>> {
    Ok(specs(settings)?.into_iter().map(|spec| spec.host).collect())
}

/// Returns the engines as the settings name them: at least one, no address twice, and all or none with a number of slots.
fn specs(settings: &Settings) -> anyhow::Result<Vec<EngineSpec>> {
    let (name, addresses) = match settings.docker_hosts.0.as_slice() {
        [] => ("DOCKER_HOST", std::slice::from_ref(&settings.docker_host)),
        several => ("DOCKER_HOSTS", several),
    };
    let mut specs: Vec<EngineSpec> = Vec::new();
    for entry in addresses {
        let spec = spec(settings, entry).map_err(|why| anyhow::anyhow!("{name}={entry:?} cannot be used: {why}"))?;
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
fn spec(settings: &Settings, entry: &str) -> Result<EngineSpec, String> {
    let (address, slots) = match entry.split_once(';') {
        None => (entry, None),
        Some((address, option)) => {
            let number = option.trim().strip_prefix("slots=").and_then(|number| number.parse::<u16>().ok());
            let number = number.filter(|number| (1..=1000).contains(number));
            (address.trim(), Some(number.ok_or("write a number from 1 to 1000 behind the address, as in ;slots=4")?))
        }
    };
    Ok(EngineSpec { host: Host::new(address, settings.docker_certs())?, slots: slots.map(usize::from) })
}

/// Returns the room that must be free before a job starts.
pub fn floor(settings: &Settings) -> Floor {
    Floor { bytes: settings.disk_floor.0, inodes: settings.inode_floor }
}

/// Returns what the API sees of the engines, and can ask of them.
pub fn handle(pool: &Arc<Pool>) -> EngineHandle {
    let [states, usage, cordons] = [pool.clone(), pool.clone(), pool.clone()];
    EngineHandle {
        states: Arc::new(move || states.states()),
        usage: Arc::new(move || {
            let pool = usage.clone();
            Box::pin(async move { pool.usage().await })
        }),
        set_cordon: Arc::new(move |name, cordon| cordons.set_cordon(name, cordon)),
    }
}
