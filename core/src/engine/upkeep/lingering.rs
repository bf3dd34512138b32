//! Ends builds that outlive their client. Podman goes on with a step whose client is gone until the step ends by itself,
//! and only then stops the build (seen with 5.8 and 6.1). On this machine the processes of such a step are known by the
//! mark in their `/etc/hosts`, and are killed; that takes the rights of the user who runs Podman. Elsewhere the build
//! can only be waited for: Podman lists its working container as long as the build is there. Once Podman has died,
//! its steps go on without it, as BuildKit's do, and the next Podman lists their containers for ever, so that these prove
//! nothing and are not waited for.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::Deserialize;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::instance::Instance;
use crate::engine::api::connect::{Conversation, Host};
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::EngineError;
use crate::model::{BuildNetwork, Millis};

/// Interval of the looks at a build on this machine. Between two looks a step that was just starting shows.
const LOOK: Duration = Duration::from_millis(500);
/// Interval of the looks at an engine elsewhere.
const ASK: Duration = Duration::from_secs(5);

/// Bytes of a file of hosts that are read at most.
const MAX_HOSTS: u64 = 64 << 10;

/// A build whose end its client has not seen.
pub(in crate::engine) struct UnfinishedBuild {
    id: String,
    begun: Instant,
    /// False for steps without a network, because Podman gives these no `/etc/hosts` either.
    is_marked: bool,
    /// True if the engine did not end its answer. Then it is taken for dead, although the way to it may be instead.
    pub is_cut_off: bool,
}

impl UnfinishedBuild {
    pub(in crate::engine) fn new(id: &str, network: Option<&BuildNetwork>) -> Self {
        let is_marked = network.is_none_or(BuildNetwork::is_named);
        Self { id: id.to_owned(), begun: Instant::now(), is_marked, is_cut_off: false }
    }
}

/// One container of a builder in Podman's own API, `GET /libpod/containers/json`.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WorkingContainer {
    id: String,
    /// RFC 3339
    created: String,
    /// `storage` for a container that no engine runs, as those of builders are.
    state: String,
}

impl Engine {
    /// Returns true if builds may go on in the engine although their client is gone.
    pub(in crate::engine) async fn outlives_clients(&self) -> bool {
        self.kind().await.is_ok_and(|kind| kind.is_podman)
    }

    /// Returns true for a Podman that stops answering within two seconds, because it kills its steps before it stops.
    pub(in crate::engine) async fn is_stopping(&self) -> bool {
        if !self.outlives_clients().await {
            return false;
        }
        for _ in 0..4 {
            if self.ping().await.is_err() {
                return true;
            }
            sleep(LOOK).await;
        }
        false
    }

    /// Returns true if the processes of the engine's steps can be seen and killed from here.
    pub(in crate::engine) async fn shows_steps(&self) -> bool {
        let Host::Unix(socket) = &self.host else { return false };
        let Ok(stream) = UnixStream::connect(socket).await else { return false };
        // A proxy may lead anywhere. A process that is in no container of ours, but in another one, has no id here.
        let Some(listening) = stream.peer_cred().ok().and_then(|peer| peer.pid()) else { return false };
        let name = fs::read_to_string(format!("/proc/{listening}/comm")).unwrap_or_default();
        ["podman", "systemd"].contains(&name.trim()) && fs::read_dir(format!("/proc/{listening}/root/")).is_ok()
    }

    /// Kills the steps of a build, or waits for their end where they cannot be killed. Returns when the build is over,
    /// or the engine is away.
    pub(in crate::engine) async fn end_build(&self, build: &UnfinishedBuild) {
        let Some(instance) = &self.instance else { return };
        if build.is_marked && self.shows_steps().await {
            let mut quiet_looks = 0;
            while quiet_looks < 2 {
                let (instance, id) = (instance.clone(), build.id.clone());
                let look = move || kill_marked(&instance, |marked| marked == id);
                let killed = tokio::task::spawn_blocking(look).await.unwrap_or(0);
                quiet_looks = if killed == 0 { quiet_looks + 1 } else { 0 };
                sleep(LOOK).await;
            }
            return;
        }
        if !build.is_cut_off {
            // An error is that of an engine which is away or was replaced. Then nothing more can be known of the build.
            let _ = self.wait_for_containers(build).await;
        }
    }

    /// Waits until none of the containers is left that builders have made since this build began. All questions go by one
    /// connection, which ends with the engine's process.
    async fn wait_for_containers(&self, build: &UnfinishedBuild) -> Result<(), EngineError> {
        let mut conversation = self.host.converse().await?;
        let clock = self.machine().await?.clock;
        let begun = Millis(clock.0 - build.begun.elapsed().as_millis() as i64);
        let version = self.version().await?.info().version;
        let path = format!("/v{version}/libpod/containers/json?all=true&external=true");
        let mut left = working_containers(&mut conversation, &path, begun).await?;
        while !left.is_empty() {
            sleep(ASK).await;
            let now = working_containers(&mut conversation, &path, begun).await?;
            left.retain(|id| now.contains(id));
        }
        Ok(())
    }

    /// Kills the steps of this instance's builds that `is_live` does not know, and returns the number of processes.
    pub(super) async fn kill_abandoned(&self, is_live: impl Fn(&str) -> bool) -> usize {
        match &self.instance {
            Some(instance) if self.outlives_clients().await => kill_marked(instance, |build| !is_live(build)),
            _ => 0,
        }
    }
}

/// Returns the ids of the containers that builders have made since then.
async fn working_containers(
    conversation: &mut Conversation,
    path: &str,
    since: Millis,
) -> Result<HashSet<String>, EngineError> {
    let containers: Vec<WorkingContainer> = conversation.json(path).await?;
    let is_new = |it: &WorkingContainer| it.created.parse().is_ok_and(|at: Millis| at.0 >= since.0);
    let of_builders = containers.into_iter().filter(|it| it.state == "storage" && is_new(it));
    Ok(of_builders.map(|it| it.id).collect())
}

/// Kills the processes with a mark of a build that `is_wanted`, and returns their number.
fn kill_marked(instance: &Instance, is_wanted: impl Fn(&str) -> bool) -> usize {
    let is_marked = |pid: i32| {
        let hosts = hosts_of(pid).unwrap_or_default();
        hosts.split_whitespace().filter_map(|name| instance.build_of(name)).any(&is_wanted)
    };
    let mut killed = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(raw) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Some(pid) = Pid::from_raw(raw).filter(|_| is_marked(raw)) else { continue };
        // The process is checked again with its handle open, because another one may have got its id in between.
        if let Ok(handle) = rustix::process::pidfd_open(pid, PidfdFlags::empty())
            && is_marked(raw)
            && rustix::process::pidfd_send_signal(handle, Signal::KILL).is_ok()
        {
            killed += 1;
        }
    }
    killed
}

/// Reads the `/etc/hosts` of a process. Whoever runs in a container may have put anything there, so the path is followed
/// through no last link, a pipe is not waited for, and only a file is read.
fn hosts_of(pid: i32) -> Option<String> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32;
    let path = format!("/proc/{pid}/root/etc/hosts");
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(path).ok()?;
    file.metadata().ok().filter(fs::Metadata::is_file)?;
    let mut text = Vec::new();
    file.take(MAX_HOSTS).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_of_a_process_are_read() {
        let own = hosts_of(std::process::id() as i32).unwrap_or_default();
        assert_eq!(own, fs::read_to_string("/etc/hosts").unwrap_or_default());
        assert_eq!(hosts_of(-1), None);
    }
}
