use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Tools;
use super::clone::Fetched;
use super::failure::JobEnd;
use super::memory::TreeMemory;
use super::retry::with_retries;
use super::stage::StageRunner;
use super::wanted::Wanted;
use super::{dockerfile, folder, heads, makina};
use crate::git::{EntryKind, MemoryShare, Mirror, Snapshot, SnapshotOptions};
use crate::model::{
    CommitId, Dialect, LogSink, Origin, RefGlob, RepoRef, SkipReason, StageName, TagTemplate, bare_name,
    has_docker_nocache, has_docker_skip, has_skip_words,
};
use crate::secrets::Secrets;

/// Resolves the commit, reads its tree, fetches submodules and LFS files, which other places hold, and finds the
/// Dockerfile. The plan then has the Dockerfile's name in the tree. No work tree is written, because the engine gets its
/// files from Git's objects.
pub(super) async fn run(
    tools: &Tools,
    secrets: &Secrets,
    fetched: &mut Fetched,
    mirror: &Mirror,
    runner: &mut StageRunner,
) -> Result<Arc<Snapshot>, JobEnd> {
    let (log, memory) = (runner.log.clone(), TreeMemory::new(tools, runner));
    let Fetched { repo, wanted, git_ref, default_branch, plan, began, .. } = fetched;
    let (repository, times_key) = (runner.job.repository.clone(), runner.job.repository.clone());
    let Wanted { commit, branch, pushed_ref, is_granted } = &*wanted;
    let (job, origin, dialect) = (runner.job.id, runner.job.origin, runner.job.dialect);
    let mut resolved = None;
    let work = async {
        let resolve = async {
            let oid = tools.git.resolve(mirror, branch.as_ref(), commit, *is_granted).await?;
            let counts_for = match (pushed_ref, branch) {
                (Some(pushed), _) => Some(pushed.clone()),
                (None, Some(branch)) => tools.git.counts_for(mirror, branch, commit, &oid, &*log).await?,
                (None, None) => None,
            };
            Ok((oid, counts_for))
        };
        let (oid, counts_for) = log.within(tools.config.checkout_timeout, "CHECKOUT_TIMEOUT", resolve).await?;
        resolved = Some(CommitId::from(oid));
        *git_ref = counts_for.map(|git_ref| RepoRef { repository, git_ref });
        if let Some(git_ref) = git_ref {
            heads::record_fetched(tools, mirror, git_ref, *began).await;
            let is_needed = tools.config.tags_of(dialect).1.iter().any(TagTemplate::needs_default_branch);
            if is_needed && default_branch.is_none() && git_ref.git_ref.starts_with(RefGlob::BRANCHES) {
                let ask = || {
                    let answer = tools.git.default_branch(mirror);
                    log.within(tools.config.clone_timeout, "CLONE_TIMEOUT", async { Ok(answer.await) })
                };
                *default_branch = with_retries(tools.config.clone_timeout, tools.pauses.of(job), &*log, ask).await?;
            }
        }
        let (is_missed, is_conveyors) = (origin == Origin::Missed, dialect == Dialect::Conveyor);
        let heeds_skip_words = is_missed && tools.config.skip_words.load(Relaxed);
        let message = match is_conveyors || heeds_skip_words {
            true => tools.git.message(mirror, &oid).await?,
            false => String::new(),
        };
        // A webhook's message was read when the push came, and a request is built whatever the message says.
        if heeds_skip_words && has_skip_words(&message) {
            return Ok(Err(SkipReason::SkipWords));
        }
        if is_missed && is_conveyors && has_docker_skip(&message) {
            return Ok(Err(SkipReason::DockerSkip));
        }
        let no_cache = is_conveyors && has_docker_nocache(&message);
        if no_cache {
            log.write(b"The commit's message has [docker nocache]: every step runs\n");
        }
        let git_dir = match plan.keep_git_dir && plan.context.is_root() {
            true => {
                let make = async { Ok(tools.git.git_dir(mirror, &oid, &*log).await?) };
                Some(log.within(tools.config.checkout_timeout, "CHECKOUT_TIMEOUT", make).await?)
            }
            false => None,
        };
        let (limit, git_dir) = (tools.config.clone_timeout, git_dir.as_ref());
        let read = |memory: MemoryShare| {
            let (oid, times_key, log) = (&oid, &times_key, &log);
            let try_once = move || {
                let options = SnapshotOptions { git_dir, memory: memory.clone() };
                let snapshot = tools.git.snapshot_with(mirror, oid, times_key, options, secrets, &**log);
                log.fetch_within(limit, snapshot)
            };
            with_retries(limit, tools.pauses.of(job), &**log, try_once)
        };
        let snapshot = memory.within(read).await?;
        let files =
            snapshot.entries.iter().filter(|entry| entry.kind != EntryKind::Dir && !entry.is_of_git_dir()).count();
        log.write(format!("{oid}: {files} files\n").as_bytes());
        if let Some(git_dir) = git_dir {
            let bytes: u64 = snapshot.entries.iter().filter(|e| e.is_of_git_dir()).map(|e| e.size).sum();
            let (commits, tags) = (git_dir.commits, git_dir.tags);
            log.write(format!(".git: {commits} commits, {tags} tags, {bytes} bytes\n").as_bytes());
        } else if plan.keep_git_dir {
            log.write(b".git is left out, because the context is a folder of the repository\n");
        }
        let folder = folder::resolve(&snapshot, repo, &plan.context).await?;
        let dockerfile = dockerfile::find_for(plan, &snapshot, repo, &folder, &*log).await?;
        plan.may_have_attributes =
            makina::check(&snapshot, dockerfile.as_ref(), &folder, &plan.build_args, &*log).await?;
        Ok(Ok((snapshot, dockerfile, no_cache)))
    };
    let branch_name = branch.as_ref().map_or("HEAD", |branch| bare_name(branch.as_str()));
    let name = commit.digits().unwrap_or(branch_name);
    let checked_out = runner.stage(StageName::Checkout, &format!("git checkout -f {name}"), work).await;
    // The commit is recorded before the stage's error is returned, because it is known even if its tree or its Dockerfile
    // is unusable.
    runner.resolved_commit = resolved;
    runner.git_ref = fetched.git_ref.as_ref().map(|of| of.git_ref.clone());
    let (snapshot, dockerfile, no_cache) = checked_out?.map_err(JobEnd::Skipped)?;
    fetched.plan.set_dockerfile(dockerfile);
    fetched.plan.no_cache |= no_cache;
    Ok(Arc::new(snapshot))
}
