//! Who killed a step. Its exit code 137 says that it was SIGKILL, which is the kernel's OOM killer's, but also that of
//! `timeout -s KILL` in the step.

use hyper::Method;
use serde::Deserialize;

use crate::engine::api::connect::Host;

/// Who killed a step, as far as can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine) enum Killer {
    /// The OOM killer.
    Kernel,
    Other,
    Unknown,
}

/// What the OOM killer does from now on: `oom_kill` of /proc/vmstat (Linux 4.13 and later) counts in the whole kernel,
/// control groups and containers included.
pub(in crate::engine) struct Watch(Option<u64>);

impl Watch {
    pub(in crate::engine) async fn start() -> Self {
        Self(kills().await)
    }

    /// Who killed a step of this engine since the start. (Or one of a build beside it: the kernel does not say whose.)
    pub(in crate::engine) async fn killer(&self, engine: &Host) -> Killer {
        match self.0.zip(kills().await) {
            Some((before, now)) if is_here(engine).await => {
                if now > before {
                    Killer::Kernel
                } else {
                    Killer::Other
                }
            }
            _ => Killer::Unknown,
        }
    }
}

async fn kills() -> Option<u64> {
    let vmstat = tokio::fs::read_to_string("/proc/vmstat").await.ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
}

/// Whether its steps run on our kernel: it is behind a socket of this machine, and not one that leads to a virtual
/// machine or elsewhere, which has another kernel or another size.
async fn is_here(engine: &Host) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Info {
        kernel_version: String,
        mem_total: u64,
    }
    let ours = async {
        let kernel = tokio::fs::read_to_string("/proc/sys/kernel/osrelease").await.ok()?;
        let memory = tokio::fs::read_to_string("/proc/meminfo").await.ok()?;
        let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix(" kB")?;
        Some((kernel.trim().to_owned(), total.parse::<u64>().ok()? * 1024))
    };
    if !matches!(engine, Host::Unix(_)) {
        return false;
    }
    let theirs = engine.json::<Info>(Method::GET, "/info").await.ok();
    theirs
        .map(|info| (info.kernel_version, info.mem_total))
        .zip(ours.await)
        .is_some_and(|(theirs, ours)| theirs == ours)
}
