use std::sync::Arc;

use super::Tools;
use super::clone::{Fetched, wait};
use super::stage::{End, Failed, Stagehand, within};
use crate::git::{Kind, Snapshot};
use crate::model::{LogSink, StageName};
use crate::secrets::Secrets;

pub(super) const DOCKERFILE: &str = "Dockerfile";

/// Finds the commit, reads its tree, and fetches what is not in the repository itself: submodules and LFS files. Nothing
/// is written to a work tree: the engine gets its files from Git's objects.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    fetched: &Fetched,
    hand: &mut Stagehand,
) -> Result<Arc<Snapshot>, End> {
    let log = hand.log.clone();
    let pushed = hand.job.context.pushed;
    let Fetched { repo, branch, commit, mirror, .. } = fetched;
    let work = async {
        let resolve = async { Ok(tools.git.resolve(mirror, branch, commit, pushed).await?) };
        let oid = within(tools.config.checkout_timeout, "CHECKOUT_TIMEOUT", resolve).await?;
        let key = times_key(fetched);
        let try_once = || {
            let snapshot = tools.git.snapshot(mirror, &oid, &key, secrets, &*log);
            within(tools.config.clone_timeout, "CLONE_TIMEOUT", async { Ok(snapshot.await) })
        };
        let snapshot = match try_once().await? {
            Err(e) if e.transient => {
                wait(&e, &*log).await;
                try_once().await??
            }
            other => other?,
        };
        let files = snapshot.entries.iter().filter(|entry| entry.kind != Kind::Dir).count();
        log.write(format!("{oid}: {files} files\n").as_bytes());
        match snapshot.entry(DOCKERFILE.as_bytes()) {
            Some(_) => Ok(snapshot),
            None => Err(Failed::new(format!(
                "{repo} has no {DOCKERFILE} at the top of commit {oid}: add one, or build a branch that has it"
            ))),
        }
    };
    let command = match commit {
        crate::model::CommitSpec::Head => format!("git checkout -f {branch}"),
        crate::model::CommitSpec::Full(id) | crate::model::CommitSpec::Short(id) => format!("git checkout -f {id}"),
    };
    let snapshot = hand.stage(StageName::Checkout, &command, work).await?;
    hand.resolved_commit = Some(snapshot.commit.to_string());
    Ok(Arc::new(snapshot))
}

/// One table of file times, and one synced context in the engine, per repository, and Dockerfile in it.
pub(super) fn times_key(fetched: &Fetched) -> String {
    format!("{}:{DOCKERFILE}", fetched.repo)
}
