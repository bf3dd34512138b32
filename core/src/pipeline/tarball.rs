//! A job of compose-ci's API whose files come from a tarball of GitHub's API. `clone` fetches it, and `checkout` lists its
//! files.

use std::sync::Arc;

use super::Tools;
use super::clone::{Fetched, planned};
use super::failure::JobEnd;
use super::memory::TreeMemory;
use super::retry::with_retries;
use super::stage::StageRunner;
use super::{dockerfile, folder, makina};
use crate::git::{EntryKind, MemoryShare, Snapshot};
use crate::model::{LogSink, Origin, RepoRef, StageName};
use crate::secrets::Secrets;

pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    runner: &mut StageRunner,
) -> Result<(Fetched, Arc<Snapshot>), JobEnd> {
    let (log, began) = (runner.log.clone(), tools.git.last_fetch_number());
    let memory = TreeMemory::new(tools, runner);
    let (repo, wanted, source, plan) = match planned(tools, secrets, &runner.job) {
        Ok(planned) => planned,
        Err(failed) => return runner.stage(StageName::Clone, "curl", async { Err(failed) }).await,
    };
    let is_reported = matches!(runner.job.origin, Origin::Hook | Origin::Missed);
    let (job, limit) = (runner.job.id, tools.config.clone_timeout);
    let fetch = with_retries(limit, tools.pauses.of(job), &*log, || {
        let tarball = tools.git.tarball(&source, &wanted.commit, &*log);
        log.fetch_within(limit, async { tarball.await.map_err(|error| error.of_existing(is_reported)) })
    });
    let digits = wanted.commit.digits().unwrap_or("HEAD");
    let command = format!("curl -L {}/repos/{repo}/tarball/{digits}", tools.git.tarballs_from());
    let tarball = runner.stage(StageName::Clone, &command, fetch).await?;

    runner.resolved_commit = Some(tarball.commit.clone());
    let repository = runner.job.repository.clone();
    let git_ref = wanted.pushed_ref.clone().map(|git_ref| RepoRef { repository: repository.clone(), git_ref });
    runner.git_ref = wanted.pushed_ref.clone();
    let (url, default_branch) = (Some(source.url.clone()), runner.job.default_branch.clone());
    let mirror = Some(tarball.mirror.clone());
    let mut fetched = Fetched { repo, url, wanted, git_ref, default_branch, mirror, plan, began };
    let list = async {
        if fetched.plan.keep_git_dir {
            log.write(b".git is left out, because a tarball has none\n");
        }
        let read = |memory: MemoryShare| {
            let (tarball, repository, log) = (&tarball, &repository, &log);
            let try_once = move || {
                let snapshot = tools.git.snapshot_of_tarball(tarball, repository, memory.clone(), secrets, &**log);
                log.fetch_within(limit, snapshot)
            };
            with_retries(limit, tools.pauses.of(job), &**log, try_once)
        };
        let snapshot = memory.within(read).await?;
        let files = snapshot.entries.iter().filter(|entry| entry.kind != EntryKind::Dir).count();
        log.write(format!("{}: {files} files\n", tarball.commit).as_bytes());
        let folder = folder::resolve(&snapshot, &fetched.repo, &fetched.plan.context).await?;
        let dockerfile = dockerfile::find_for(&fetched.plan, &snapshot, &fetched.repo, &folder, &*log).await?;
        let may_have_attributes =
            makina::check(&snapshot, dockerfile.as_ref(), &folder, &fetched.plan.build_args, &*log).await?;
        Ok((snapshot, dockerfile, may_have_attributes))
    };
    let (snapshot, dockerfile, may_have_attributes) = runner.stage(StageName::Checkout, "tar xz", list).await?;
    fetched.plan.set_dockerfile(dockerfile);
    fetched.plan.may_have_attributes = may_have_attributes;
    fetched.plan.keep_git_dir = false;
    Ok((fetched, Arc::new(snapshot)))
}
