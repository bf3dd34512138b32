use std::sync::Arc;

use super::Tools;
use super::clone::{Fetched, wait};
use super::dockerfile;
use super::stage::{End, Stagehand};
use crate::git::{Kind, Snapshot};
use crate::model::{LogSink, StageName};
use crate::secrets::Secrets;

/// Finds the commit, reads its tree, fetches what is not in the repository itself (submodules and LFS files), and finds
/// the Dockerfile, whose name in the tree is the plan's from then on. Nothing is written to a work tree: the engine gets
/// its files from Git's objects.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    fetched: &mut Fetched,
    hand: &mut Stagehand,
) -> Result<Arc<Snapshot>, End> {
    let log = hand.log.clone();
    let pushed = hand.job.context.pushed;
    let Fetched { repo, branch, commit, mirror, plan, .. } = &*fetched;
    let dockerfile = &plan.dockerfile;
    let work = async {
        let resolve = async { Ok(tools.git.resolve(mirror, branch, commit, pushed).await?) };
        let oid = log.within(tools.config.checkout_timeout, "CHECKOUT_TIMEOUT", resolve).await?;
        let key = repo.to_string();
        let try_once = || {
            let snapshot = tools.git.snapshot(mirror, &oid, &key, secrets, &*log);
            log.within(tools.config.clone_timeout, "CLONE_TIMEOUT", async { Ok(snapshot.await) })
        };
        let snapshot = match try_once().await? {
            Err(e) if e.is_transient() => {
                wait(&e, &*log).await;
                try_once().await??
            }
            other => other?,
        };
        let files = snapshot.entries.iter().filter(|entry| entry.kind != Kind::Dir).count();
        log.write(format!("{oid}: {files} files\n").as_bytes());
        let dockerfile = dockerfile::find(&snapshot, repo, dockerfile, &*log).await?;
        Ok((snapshot, dockerfile))
    };
    let command = match commit {
        crate::model::CommitSpec::Head => format!("git checkout -f {branch}"),
        crate::model::CommitSpec::Full(id) | crate::model::CommitSpec::Short(id) => format!("git checkout -f {id}"),
    };
    let (snapshot, dockerfile) = hand.stage(StageName::Checkout, &command, work).await?;
    fetched.plan.dockerfile = dockerfile;
    hand.resolved_commit = Some(snapshot.commit.to_string());
    Ok(Arc::new(snapshot))
}
