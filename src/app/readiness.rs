//! Watches the things without which no job can be claimed: the secrets, an engine, room in the data folder, and Git.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk::{self, Floor};
use crate::engine::PoolStatus;
use crate::git;
use crate::http::NEWEST_JOB;
use crate::model::{FailureClass, Millis, WaitKind, WaitReason};
use crate::secrets::Secrets;
use crate::store::{Store, StoreError};

/// Time between two looks at the data folder's disk, which cost microseconds each.
const LOOK: Duration = Duration::from_secs(5);
/// Time between two looks at the programs while all are well, because each look starts them.
const PROGRAMS: Duration = Duration::from_secs(60);
/// Age of the oldest failure that `/ready` shows, counted from its end.
const SHOWN: Duration = Duration::from_secs(24 * 3600);
/// The most failures that `/ready` shows.
const MOST_SHOWN: u32 = 5;
/// Bytes of mirrors that are removed at each look while inodes are missing, because inodes have no size.
const FOR_INODES: u64 = 256 << 20;

/// Room in the data folder.
#[derive(Clone)]
pub struct DiskSpace {
    /// The reason why jobs wait, if there is too little.
    pub shortage: watch::Receiver<Option<String>>,
    /// Number of bytes that the mirrors have to free.
    pub missing: watch::Receiver<u64>,
}

/// Watches the disk. Jobs are claimed only while it has DISK_FLOOR and INODE_FLOOR; webhooks are stored all the same.
pub fn watch_disk(data_dir: PathBuf, floor: Floor, shutdown: &CancellationToken) -> DiskSpace {
    let first = judge(&data_dir, &floor);
    let (shortage, seen) = watch::channel(first.as_ref().map(|(why, _)| why.clone()));
    let (missing, wanted) = watch::channel(first.as_ref().map_or(0, |(_, missing)| *missing));
    if let Some((why, _)) = &first {
        log_disk_state(Some(why));
    }
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
        loop {
            tokio::time::sleep(LOOK).await;
            let found = judge(&data_dir, &floor);
            let (was, is) = (shortage.borrow().is_some(), found.is_some());
            if was != is {
                log_disk_state(found.as_ref().map(|(why, _)| why.as_str()));
            }
            if was || is {
                missing.send_replace(found.as_ref().map_or(0, |(_, missing)| *missing));
                shortage.send_replace(found.map(|(why, _)| why));
            }
        }
    }));
    DiskSpace { shortage: seen, missing: wanted }
}

/// Returns the shortage, and the bytes that would end it. A folder whose disk cannot be measured counts as one with room,
/// because the store reports it.
fn judge(data_dir: &std::path::Path, floor: &Floor) -> Option<(String, u64)> {
    let disk = disk::measure(data_dir).ok().filter(|disk| !floor.holds(disk))?;
    let missing = match floor.with_margin().bytes.saturating_sub(disk.free) {
        0 => FOR_INODES,
        missing => missing,
    };
    let why = format!("the disk of {} has {disk}, jobs wait below {floor}: make room there", data_dir.display());
    Some((why, missing))
}

fn log_disk_state(shortage: Option<&str>) {
    match shortage {
        Some(why) => tracing::warn!("{why}"),
        None => tracing::info!("the disk of the data folder has room"),
    }
}

/// Watches the programs that every job runs: Git, ssh and setpriv. Returns what is wrong with them; jobs wait meanwhile. The
/// start does not wait for the first look, which takes 0.1 s.
pub fn watch_programs(shutdown: &CancellationToken) -> watch::Receiver<Vec<String>> {
    let look = async || {
        let all = git::programs().await.into_iter();
        all.filter_map(|program| Some(format!("no job can run: {}", program.err()?))).collect::<Vec<_>>()
    };
    let report = |missing: &[String]| missing.iter().for_each(|why| tracing::error!("{why}"));
    let untried = "Git, ssh and setpriv were not tried yet: jobs wait a moment for them";
    let (missing, seen) = watch::channel(vec![untried.to_owned()]);
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
        loop {
            let found = look().await;
            missing.send_if_modified(|former| {
                let is_new = *former != found;
                if is_new {
                    report(&found);
                    *former = found;
                }
                is_new
            });
            let pause = if missing.borrow().is_empty() { PROGRAMS } else { LOOK };
            tokio::time::sleep(pause).await;
        }
    }));
    seen
}

/// State that [`watch`] publishes.
pub struct Readiness {
    /// True while jobs can be claimed: the secrets were read once, and there are an engine, room, and the programs.
    pub ready: watch::Receiver<bool>,
    /// The reason why no job can be claimed.
    pub blocked: watch::Receiver<Option<WaitReason>>,
    /// Number of jobs that the engines may have together; `None` where they have no numbers of slots.
    pub slots: watch::Receiver<Option<usize>>,
    /// Reasons why the daemon is degraded, one line each, without secrets.
    pub degraded: watch::Receiver<Vec<String>>,
}

/// Watches the jobs that only an operator can help: those that are held for a secret, and the newest failures of a
/// repository that only an operator can mend. Returns a line for each.
pub fn watch_jobs(store: Store, shutdown: &CancellationToken) -> watch::Receiver<Vec<String>> {
    let (found, seen) = watch::channel(Vec::new());
    tokio::spawn(shutdown.clone().run_until_cancelled_owned(async move {
        loop {
            match job_reasons(&store).await {
                Ok(reasons) => {
                    found.send_if_modified(|current| std::mem::replace(current, reasons.clone()) != reasons);
                }
                Err(error) => tracing::warn!(%error, "the jobs that need an operator cannot be read: trying again"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }));
    seen
}

async fn job_reasons(store: &Store) -> Result<Vec<String>, StoreError> {
    let (now, mut reasons) = (Millis::now(), Vec::new());
    let held = store.held(now).await?.len();
    if held > 0 {
        reasons.push(format!(
            "jobs that wait for a secret that is stored and cannot be used: {held}; each fails when SECRET_WAIT has passed"
        ));
    }
    for job in store.operators_failures(now - SHOWN, MOST_SHOWN).await? {
        let (repo, class, cause) = (&job.repository, job.class.map_or("", FailureClass::as_str), job.cause);
        let cause: String = cause.unwrap_or_default().chars().take(300).collect();
        reasons
            .push(format!("{NEWEST_JOB}{repo} ended ({class}): {cause}; rebuild job {} when that is mended", job.id));
    }
    Ok(reasons)
}

/// Watches the secrets, the engines, the room in the data folder, the programs and the certificate.
pub fn watch(
    mut secrets: watch::Receiver<Arc<Secrets>>,
    mut engines: watch::Receiver<PoolStatus>,
    disk_space: DiskSpace,
    mut programs: watch::Receiver<Vec<String>>,
    mut jobs: watch::Receiver<Vec<String>>,
    mut certificate: watch::Receiver<Option<String>>,
) -> Readiness {
    let mut shortage = disk_space.shortage;
    let (ready, ready_seen) = watch::channel(false);
    let (blocked, blocked_seen) = watch::channel(None);
    let (slots, slots_seen) = watch::channel(None);
    let (degraded, degraded_seen) = watch::channel(secret_reasons(&secrets.borrow()));
    tokio::spawn(async move {
        loop {
            let (loaded, mut reasons) = {
                let secrets = secrets.borrow_and_update();
                (secrets.loaded, secret_reasons(&secrets))
            };
            let PoolStatus { usable, is_full, slots: engine_slots, troubles } = engines.borrow_and_update().clone();
            let full = shortage.borrow_and_update().clone();
            let missing = programs.borrow_and_update().clone();
            let is_ready = loaded && usable && full.is_none() && missing.is_empty();
            let reason = match (loaded, usable, &full) {
                (false, ..) => Some(WaitReason::new(WaitKind::Secrets, reasons.join("; "))),
                (_, _, Some(full)) => Some(WaitReason::new(WaitKind::Disk, full)),
                (_, false, _) => {
                    let kind = if is_full { WaitKind::Disk } else { WaitKind::Engine };
                    Some(WaitReason::new(kind, troubles.join("; ")))
                }
                _ if !missing.is_empty() => Some(WaitReason::new(WaitKind::Programs, missing.join("; "))),
                _ => None,
            };
            blocked.send_if_modified(|current| std::mem::replace(current, reason.clone()) != reason);
            slots.send_if_modified(|current| std::mem::replace(current, engine_slots) != engine_slots);
            reasons.extend(troubles);
            reasons.extend(full);
            reasons.extend(missing);
            reasons.extend(jobs.borrow_and_update().clone());
            reasons.extend(certificate.borrow_and_update().clone());
            degraded.send_if_modified(|current| std::mem::replace(current, reasons.clone()) != reasons);
            ready.send_if_modified(|current| std::mem::replace(current, is_ready) != is_ready);
            let changed = tokio::select! {
                changed = secrets.changed() => changed,
                changed = engines.changed() => changed,
                changed = shortage.changed() => changed,
                changed = programs.changed() => changed,
                changed = jobs.changed() => changed,
                changed = certificate.changed() => changed,
            };
            if changed.is_err() {
                return; // the daemon stops
            }
        }
    });
    Readiness { ready: ready_seen, blocked: blocked_seen, slots: slots_seen, degraded: degraded_seen }
}

/// Returns the reasons why the secrets make the daemon degraded.
fn secret_reasons(secrets: &Secrets) -> Vec<String> {
    let mut reasons = secrets.trouble.clone();
    if !secrets.loaded && reasons.is_empty() {
        reasons.push("the secrets are not loaded yet: jobs wait for them".into());
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_that_are_not_loaded_are_a_reason_unless_there_is_another() {
        let mut secrets = Secrets::default();
        assert_eq!(secret_reasons(&secrets), ["the secrets are not loaded yet: jobs wait for them"]);
        secrets.trouble.push("etcd is away".into());
        assert_eq!(secret_reasons(&secrets), ["etcd is away"]);
        secrets = Secrets::default();
        secrets.loaded = true;
        assert!(secret_reasons(&secrets).is_empty());
    }

    #[tokio::test]
    async fn all_reasons_are_published_in_one_list() {
        let mut secrets = Secrets::default();
        secrets.trouble.push("etcd is away".into());
        let (_secrets, secrets) = watch::channel(Arc::new(secrets));
        let found = PoolStatus { troubles: vec!["no engine answers".into()], ..PoolStatus::default() };
        let (_engines, engines) = watch::channel(found);
        let (_shortage, shortage) = watch::channel(Some("the disk is full".into()));
        let (_missing, missing) = watch::channel(0);
        let (_programs, programs) = watch::channel(vec!["git is not installed".to_owned()]);
        let (_jobs, jobs) = watch::channel(vec!["a job needs an operator".to_owned()]);
        let (_certificate, certificate) = watch::channel(Some("the certificate cannot be used".to_owned()));
        let mut readiness =
            super::watch(secrets, engines, DiskSpace { shortage, missing }, programs, jobs, certificate);
        let all = [
            "etcd is away",
            "no engine answers",
            "the disk is full",
            "git is not installed",
            "a job needs an operator",
            "the certificate cannot be used",
        ];
        readiness.degraded.wait_for(|reasons| *reasons == all).await.unwrap();
        assert!(!*readiness.ready.borrow());
        let blocked = readiness.blocked.borrow().clone();
        assert_eq!(blocked, Some(WaitReason::new(WaitKind::Secrets, "etcd is away")));
    }

    #[tokio::test]
    async fn jobs_wait_while_a_program_is_missing() {
        let mut secrets = Secrets::default();
        secrets.loaded = true;
        let (_secrets, secrets) = watch::channel(Arc::new(secrets));
        let (_engines, engines) = watch::channel(PoolStatus { usable: true, ..PoolStatus::default() });
        let ((_shortage, shortage), (_missing, missing)) = (watch::channel(None), watch::channel(0));
        let (found, programs) = watch::channel(vec!["git is not installed".to_owned()]);
        let (_jobs, jobs) = watch::channel(Vec::new());
        let (_certificate, certificate) = watch::channel(None);
        let mut readiness =
            super::watch(secrets, engines, DiskSpace { shortage, missing }, programs, jobs, certificate);
        readiness.degraded.wait_for(|reasons| *reasons == ["git is not installed"]).await.unwrap();
        assert!(!*readiness.ready.borrow());
        found.send_replace(Vec::new());
        readiness.ready.wait_for(|ready| *ready).await.unwrap();
        assert!(readiness.degraded.borrow().is_empty());
    }
}
