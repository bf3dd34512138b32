use std::collections::BTreeMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::clone::Fetched;
use super::failure::{JobEnd, StageFailure};
use super::other_ids::{self, OwnIds};
use super::stage::StageRunner;
use super::{Tools, bases, cache, dockerfile, epoch, folder, makina};
use crate::engine::{
    EngineError, EngineLease, ImageBuild, JOB_LABEL, LeaseError, refuse_overgrown, refuse_private_sources,
};
use crate::git::Snapshot;
use crate::model::{
    BaseImage, CommitId, CommitSpec, Dialect, FailedStep, FailureClass, ImageRef, ImageRefError, JobId, LogSink,
    Millis, RefGlob, StageName, TagSource, TagTemplate, base_images,
};
use crate::secrets::RegistryLogins;

impl From<EngineError> for StageFailure {
    fn from(e: EngineError) -> Self {
        let step = e.step.and_then(|step| FailedStep::read(&step.name, step.last_line.as_deref())).map(Box::new);
        Self { exit_code: e.exit_code.unwrap_or(1), step, ..Self::new(e.kind.class(), e.message) }
    }
}

/// A name that the image gets when it is pushed.
#[derive(Debug, PartialEq)]
pub(super) struct PlannedTag {
    pub image: ImageRef,
    /// True if another commit can get the name, because the name contains no commit.
    pub moving: bool,
    /// True if a smaller version does not take the name from a greater one.
    pub of_versions: bool,
}

/// An image in the engine, with the names that it gets in the registry.
pub(super) struct ImageToPush {
    /// Digest (`sha256:…`) of the image's configuration.
    pub id: String,
    /// Planned names; the job's own name is the first.
    pub names: Vec<PlannedTag>,
    pub commit: CommitId,
    /// Service of a compose file that the image is of; `None` for the job's own image.
    pub service: Option<String>,
}

/// Returns the names of an image: the job's own, and those that the templates make. `label` is the log's word for the
/// templates.
fn planned_tags(
    own: &str,
    requested: &CommitSpec,
    (label, templates): (&str, &[TagTemplate]),
    source: TagSource,
    log: &dyn LogSink,
) -> Result<Vec<PlannedTag>, StageFailure> {
    let invalid = |e: ImageRefError| StageFailure::new(FailureClass::Source, e);
    let image = ImageRef::parse(own).map_err(invalid)?;
    let is_commit = |tag: &str| tag.eq_ignore_ascii_case(source.commit);
    // A request names the commit by its id, by the beginning of its id, or by the id of a tag's object.
    let is_requested = requested.digits().is_some_and(|id| image.tag().eq_ignore_ascii_case(id));
    let moving = !is_requested && !is_commit(image.tag());
    let mut names = vec![PlannedTag { moving, of_versions: false, image }];
    for template in templates {
        let Some(tag) = template.of(source) else {
            // The other conditions are the operator's wish, which a line for each job would only repeat.
            let why = match source.git_ref {
                None => Some("the commit is built as one of no branch"),
                Some(git_ref)
                    if template.needs_default_branch()
                        && source.default_branch.is_none()
                        && git_ref.starts_with(RefGlob::BRANCHES) =>
                {
                    Some("the server does not say which branch is the default one")
                }
                Some(_) => None,
            };
            if let Some(why) = why {
                log.write(format!("{label}: {template} is left out, because {why}\n").as_bytes());
            }
            continue;
        };
        if !is_commit(&tag) && !template.names_commit() && matches!(CommitSpec::parse(&tag), Ok(CommitSpec::Full(_))) {
            let line = format!("{label}: {template} is left out, as {tag} is the id of another commit\n");
            log.write(line.as_bytes());
            continue;
        }
        let image = names[0].image.with_tag(&tag).map_err(invalid)?;
        let moving = !template.names_commit() && !is_commit(image.tag());
        let of_versions = template.is_of_versions();
        match names.iter_mut().find(|name| name.image == image) {
            Some(same) => same.moving &= moving,
            None => names.push(PlannedTag { image, moving, of_versions }),
        }
    }
    Ok(names)
}

/// Leases an engine; `None` once the job is cancelled.
async fn lease(
    tools: &Tools,
    runner: &mut StageRunner,
    put_back: &CancellationToken,
) -> Option<Result<EngineLease, EngineError>> {
    let job = &runner.job;
    // A job that infrastructure ended is tried on another engine, if there is one.
    let avoid = job.engine.clone().filter(|_| job.failures > 0);
    let leased = async {
        match tools.engines.lease(job.id, &job.repository, avoid.as_deref()).await {
            Err(LeaseError::Cordoned) => {
                put_back.cancel();
                // The queue cancels this attempt now.
                std::future::pending().await
            }
            Err(LeaseError::Failed(error)) => Err(error),
            Ok(engine) => Ok(engine),
        }
    };
    let engine = runner.unless_cancelled(leased).await;
    runner.engine = engine.iter().flatten().next().map(EngineLease::engine);
    engine
}

/// Ends the stage of a job that is only tested, and returns the lease of the engine for its test.
pub(super) async fn leave_out(
    tools: &Tools,
    runner: &mut StageRunner,
    put_back: &CancellationToken,
) -> Result<EngineLease, JobEnd> {
    let engine = lease(tools, runner, put_back).await;
    let log = runner.log.clone();
    let work = async {
        let Some(engine) = engine else { return std::future::pending().await };
        log.write(b"There is no Dockerfile: the job has no image of its own\n");
        Ok(engine?)
    };
    runner.stage(StageName::Build, "docker build (no Dockerfile)", work).await
}

/// Builds the image, and returns it with the lease of the engine that holds it. The build gives the image no name. `push`
/// gives each name under its tag lock, because the engine pushes whichever image has the name at that moment.
pub(super) async fn run(
    tools: &Tools,
    fetched: &Fetched,
    snapshot: Arc<Snapshot>,
    runner: &mut StageRunner,
    put_back: &CancellationToken,
) -> Result<(ImageToPush, EngineLease), JobEnd> {
    let log = runner.log.clone();
    let job = &runner.job;
    let (id, attempt, text, dialect) = (job.id, job.attempt, job.image.clone(), job.dialect);
    let repo_base = job.context.docker_repo_base.clone();
    let Fetched { plan, .. } = fetched;
    let context_sent = runner.context_sent.clone();
    let (repository, repo) = (job.repository.clone(), job.repo());
    let engine = lease(tools, runner, put_back).await;
    let work = log.within(tools.config.build_timeout, "BUILD_TIMEOUT", async {
        // The lease is `None` only after a cancellation, which the stage itself notices and ends this future.
        let Some(engine) = engine else { return std::future::pending().await };
        let engine = engine?;
        let commit = CommitId::from(snapshot.commit);
        let source = TagSource {
            git_ref: fetched.git_ref.as_ref().map(|of| of.git_ref.as_str()),
            default_branch: fetched.default_branch.as_deref(),
            commit: commit.as_str(),
        };
        // The further tags are of commits and branches.
        let further = if fetched.mirror.is_some() { tools.config.tags_of(dialect) } else { ("", &[][..]) };
        let requested = &fetched.wanted.commit;
        let mut names = planned_tags(&text, requested, further, source, &*log)?;
        if let Some(mirror) = &fetched.mirror {
            let ids = OwnIds { requested, commit: &commit };
            other_ids::refuse(tools, mirror, &names[0].image, &ids).await?;
            for PlannedTag { image, moving, .. } in &mut names[1..] {
                // The hash in a tag that names the commit is the commit's, so that no other one gets the same tag.
                let of = if *moving { source.git_ref.unwrap_or_default() } else { commit.as_str() };
                other_ids::avoid(tools, mirror, image, &ids, of, &*log).await?;
            }
        }
        let dockerfile = dockerfile::read(&snapshot, &plan.dockerfile).await?;
        refuse_overgrown(&dockerfile, &plan.build_args)?;
        refuse_private_sources(&dockerfile, &plan.build_args, &tools.config.add_hosts).await?;
        let mut base_images = base_images(&dockerfile, &plan.build_args);
        let mut build_args = plan.build_args.clone();
        if !build_args.contains_key(epoch::NAME)
            && let Some(seconds) = epoch::commit_time(&snapshot, &dockerfile).await?
        {
            build_args.insert(epoch::NAME.into(), seconds.to_string());
        }
        let epoch = build_args
            .get(epoch::NAME)
            .and_then(|seconds| seconds.parse().ok())
            .filter(|s| (0..=epoch::LATEST).contains(s));
        if !plan.pull {
            bases::refresh(tools, &engine, (&base_images, repo.as_ref()), &repo_base, &*log).await?;
        }
        let sharing = &tools.config.sharing;
        let is_protected = sharing.is_protected(source.git_ref);
        if is_protected && !plan.no_cache {
            log.write(b"PROTECTED: every step runs, because a build of another ref may have written the cached ones\n");
        }
        let no_cache = plan.no_cache || is_protected;
        build_args.extend(sharing.proxies.clone());
        let cache_from = match dialect == Dialect::Conveyor && !no_cache {
            true => {
                let moving = names.iter().filter(|name| name.moving).map(|name| &name.image);
                cache::source(tools, &engine, (&names[0].image, repo.as_ref()), moving, &*log).await
            }
            false => None,
        };
        // The engine needs a login for this image, too.
        base_images.extend(cache_from.iter().map(|_| BaseImage { image: names[0].image.clone(), is_pinned: true }));
        let context = folder::resolve(&snapshot, &fetched.repo, &plan.context).await?;
        let labels = labels(fetched.url.as_deref(), &snapshot, id, epoch);
        let request = ImageBuild {
            snapshot,
            context: &context,
            dockerfile: plan.dockerfile.as_str(),
            images: &[],
            target: plan.target.as_deref(),
            build_args,
            platform: plan.platform.as_deref(),
            labels,
            build_id: format!("{id}-{attempt}"),
            sync_key: fetched.sync_key(&repository),
            network: tools.config.network.as_ref(),
            pull: plan.pull,
            no_cache,
            cache_namespace: sharing.namespace(&repository, is_protected),
            cache_from,
            inline_cache: dialect == Dialect::Conveyor && tools.config.conveyor.inline_cache,
            limits: plan.limits.clone(),
            bases: base_images,
            logins: RegistryLogins::new(tools.secrets.clone(), repo),
            pattern_bounds: tools.config.pattern_bounds,
            context_sent,
        };
        let images: Vec<_> = names.iter().map(|name| name.image.clone()).collect();
        let built = engine.build(request, &images, &*log).await?;
        tools.metrics.build_steps(built.steps.cached, built.steps.run);
        log.write(format!("image: {}\n", built.image_id).as_bytes());
        if plan.may_have_attributes {
            makina::check_layers(&engine, &built.image_id, &*log).await?;
        }
        Ok((ImageToPush { id: built.image_id, names, commit, service: None }, engine))
    });
    runner.stage(StageName::Build, &plan.command(&text), work).await
}

/// Returns the image's labels. A Dockerfile without a repository has no source and no revision. With a `SOURCE_DATE_EPOCH` they are the same for each build of a commit, because a
/// reproducible image needs constant labels.
fn labels(url: Option<&str>, snapshot: &Snapshot, id: JobId, epoch: Option<i64>) -> BTreeMap<String, String> {
    let created = epoch.map_or_else(Millis::now, |seconds| Millis(seconds.saturating_mul(1000)));
    let mut labels = BTreeMap::from([("org.opencontainers.image.created".to_owned(), created.to_string())]);
    if let Some(url) = url {
        labels.insert("org.opencontainers.image.source".to_owned(), web_url(url));
        labels.insert("org.opencontainers.image.revision".to_owned(), snapshot.commit.to_string());
    }
    if epoch.is_none() {
        labels.insert(JOB_LABEL.to_owned(), id.to_string());
    }
    labels
}

/// Returns the address for `org.opencontainers.image.source`. GitHub's ssh form becomes the address of the page.
fn web_url(url: &str) -> String {
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.strip_prefix("git@github.com:") {
        Some(path) => format!("https://github.com/{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct WrittenLines(Mutex<String>);
    impl LogSink for WrittenLines {
        fn write(&self, bytes: &[u8]) {
            self.0.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
        }
    }

    #[test]
    fn a_name_is_moving_unless_it_contains_the_commit() {
        let commit = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";
        let tag_object = "f".repeat(40);
        let templates =
            ["latest", "{branch}", "{short_sha}", "b-{sha}"].map(|template| TagTemplate::parse(template).unwrap());
        let log = WrittenLines::default();
        let moving_of = |own: &str, requested: &str, branch: Option<&str>| -> Vec<(String, bool)> {
            let requested = CommitSpec::parse(requested).unwrap();
            let git_ref = branch.map(|branch| format!("refs/heads/{branch}"));
            let source = TagSource { git_ref: git_ref.as_deref(), default_branch: None, commit };
            let names = planned_tags(&format!("q.io/a:{own}"), &requested, ("IMAGE_TAGS", &templates), source, &log);
            let names = names.unwrap_or_else(|failed| panic!("{}", failed.message));
            names.into_iter().map(|name| (name.image.tag().to_owned(), name.moving)).collect()
        };
        let moving = |own: &str, requested: &str, branch: &str| moving_of(own, requested, Some(branch));
        let all = moving(commit, commit, "release-1a2b3c4");
        let expected = [(commit, false), ("latest", true), ("release-1a2b3c4", true), ("1a2b3c4", false)];
        let expected: Vec<_> = expected.map(|(tag, moving)| (tag.to_owned(), moving)).into();
        assert_eq!(all[..4], expected);
        assert_eq!(all[4], (format!("b-{commit}"), false));
        for (own, requested, is_moving) in [
            ("HEAD", "HEAD", true),
            ("prod", commit, true),
            ("v1-1a2b3c4", commit, true),
            (&tag_object, &tag_object, false),
            ("1a2b", "1A2B", false),
            ("1a2b", "HEAD", true),
            (commit, "HEAD", false),
        ] {
            assert_eq!(moving(own, requested, "main")[0], (own.to_owned(), is_moving), "{own} {requested}");
        }
        // A commit of no branch gets no tag that names a branch.
        assert_eq!(*log.0.lock().unwrap(), "");
        let of_none = [commit.to_owned(), "1a2b3c4".into(), format!("b-{commit}")].map(|tag| (tag, false));
        assert_eq!(moving_of(commit, commit, None), of_none);
        insta::assert_snapshot!(log.0.lock().unwrap(), @r"
        IMAGE_TAGS: latest is left out, because the commit is built as one of no branch
        IMAGE_TAGS: {branch} is left out, because the commit is built as one of no branch
        ");
        // The job's own name is also made by a template, and contains the commit.
        assert_eq!(moving("1a2b3c4", "HEAD", "main")[0], ("1a2b3c4".to_owned(), false));
    }
}
