//! Finds out who killed a step. Its exit code 137 means SIGKILL, which the kernel's OOM killer sends, but also
//! `timeout -s KILL` in the step itself.

use hyper::Method;
use serde::Deserialize;

use crate::engine::api::connect::Host;
use crate::engine::api::engine::Engine;
use crate::engine::api::errors::KilledBy;

/// The number of OOM kills when a build began. `oom_kill` of /proc/vmstat (Linux 4.13 and later) counts those of the
/// whole kernel, including control groups and containers.
pub(in crate::engine) struct OomCounter(Option<u64>);

impl OomCounter {
    pub(in crate::engine) async fn start() -> Self {
        Self(kills().await)
    }

    /// Returns who killed a step of this engine since the start. A kill in another build at the same time counts too,
    /// because the kernel does not say which build was hit.
    pub(in crate::engine) async fn killed_by(&self, engine: &Engine) -> KilledBy {
        match self.0.zip(kills().await) {
            Some((before, now)) if shares_our_kernel(engine).await => match now > before {
                true => KilledBy::Kernel,
                false => KilledBy::Other,
            },
            _ => KilledBy::Unknown,
        }
    }
}

async fn kills() -> Option<u64> {
    let vmstat = tokio::fs::read_to_string("/proc/vmstat").await.ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Returns true if the engine's steps run on our kernel. Such an engine is behind a Unix socket and reports our
/// kernel's version and our amount of memory; a socket that leads to a virtual machine or elsewhere differs in one of
/// them.
async fn shares_our_kernel(engine: &Engine) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct KernelInfo {
        kernel_version: String,
        mem_total: u64,
    }
    let ours = async {
        let kernel = tokio::fs::read_to_string("/proc/sys/kernel/osrelease").await.ok()?;
        let memory = tokio::fs::read_to_string("/proc/meminfo").await.ok()?;
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        Some((kernel.trim().to_owned(), total.parse::<u64>().ok()? * 1024))
    };
    if !matches!(engine.host, Host::Unix(_)) {
        return false;
    }
    let theirs = engine.json::<KernelInfo>(Method::GET, "/info").await.ok();
    theirs
        .map(|info| (info.kernel_version, info.mem_total))
        .zip(ours.await)
        .is_some_and(|(theirs, ours)| theirs == ours)
}
