use crate::disk::Floor;
use crate::engine::{Engine, Host};
use crate::settings::Settings;

/// Returns the engines, with the builder that BUILDER selects.
pub fn engines(settings: &Settings) -> anyhow::Result<Vec<Engine>> {
    Ok(hosts(settings)?.into_iter().map(|host| Engine::new(host).with_builder(settings.builder)).collect())
}

/// Returns the addresses of the engines: at least one, and no address twice.
pub fn hosts(settings: &Settings) -> anyhow::Result<Vec<Host>> {
    let (name, addresses) = match settings.docker_hosts.0.as_slice() {
        [] => ("DOCKER_HOST", std::slice::from_ref(&settings.docker_host)),
        several => ("DOCKER_HOSTS", several),
    };
    let mut hosts = Vec::new();
    for address in addresses {
        let host = Host::new(address, settings.docker_certs())
            .map_err(|why| anyhow::anyhow!("{name}={address:?} cannot be used: {why}"))?;
        anyhow::ensure!(!hosts.contains(&host), "{name} has {address:?} twice: an engine is named once");
        hosts.push(host);
    }
    Ok(hosts)
}

/// Returns the room that must be free before a job starts.
pub fn floor(settings: &Settings) -> Floor {
    Floor { bytes: settings.disk_floor.0, inodes: settings.inode_floor }
}
