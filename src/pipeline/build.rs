use std::collections::BTreeMap;
use std::sync::Arc;

use super::Tools;
use super::clone::Fetched;
use super::epoch;
use super::failure::{JobEnd, StageFailure};
use super::folder;
use super::stage::StageRunner;
use crate::engine::{EngineError, EngineLease, ImageBuild, JOB_LABEL};
use crate::git::Snapshot;
use crate::model::{
    CommitId, CommitSpec, FailureClass, ImageRef, ImageRefError, JobId, LogSink, Millis, StageName, TagTemplate,
    bare_name,
};
use crate::secrets::RegistryLogins;

impl From<EngineError> for StageFailure {
    fn from(e: EngineError) -> Self {
        Self { exit_code: e.exit_code.unwrap_or(1), class: e.kind.class(), message: e.message }
    }
}

/// A name that an image is to get.
#[derive(Debug, PartialEq)]
pub(super) struct PlannedTag {
    pub image: ImageRef,
    /// True if another commit can get the name, because the name does not say which commit it is.
    pub moving: bool,
}

/// An image in the engine.
pub(super) struct BuiltImage {
    /// `sha256:…` of its configuration.
    pub id: String,
    /// The job's own name first.
    pub names: Vec<PlannedTag>,
    pub commit: CommitId,
}

/// The names of an image: the job's own, and those that the templates make.
fn names(
    own: &str,
    asked: &CommitSpec,
    templates: &[TagTemplate],
    branch: Option<&str>,
    commit: &str,
    log: &dyn LogSink,
) -> Result<Vec<PlannedTag>, StageFailure> {
    let invalid = |e: ImageRefError| StageFailure::new(FailureClass::Source, e);
    let image = ImageRef::parse(own).map_err(invalid)?;
    let is_commit = |tag: &str| tag.eq_ignore_ascii_case(commit);
    // A job is asked for by the commit's id, the beginning of it, or the id of a tag's object.
    let is_asked = asked.digits().is_some_and(|id| image.tag().eq_ignore_ascii_case(id));
    let mut names = vec![PlannedTag { moving: !is_asked && !is_commit(image.tag()), image }];
    for template in templates {
        // A commit of no branch takes none of the tags that say what a branch has.
        if branch.is_none() && !template.is_of_commit() {
            let line = format!("IMAGE_TAGS: {template} is left out, as the commit is built as one of no branch\n");
            log.write(line.as_bytes());
            continue;
        }
        let tag = template.of(branch.unwrap_or_default(), commit);
        if !is_commit(&tag) && !template.names_commit() && matches!(CommitSpec::parse(&tag), Ok(CommitSpec::Full(_))) {
            let line = format!("IMAGE_TAGS: {template} is left out, as {tag} is the id of another commit\n");
            log.write(line.as_bytes());
            continue;
        }
        let image = names[0].image.with_tag(&tag).map_err(invalid)?;
        let moving = !template.names_commit() && !is_commit(image.tag());
        match names.iter_mut().find(|name| name.image == image) {
            Some(same) => same.moving &= moving,
            None => names.push(PlannedTag { image, moving }),
        }
    }
    Ok(names)
}

/// Builds the image, and returns it with the lease of the engine that has it. The engine is told no name: names are given
/// as they are pushed, by one job at a time, because the engine pushes whatever image has a name then.
pub(super) async fn run(
    tools: &Tools,
    fetched: &Fetched,
    snapshot: Arc<Snapshot>,
    runner: &mut StageRunner,
) -> Result<(BuiltImage, EngineLease), JobEnd> {
    let log = runner.log.clone();
    let job = &runner.job;
    let (id, attempt, text) = (job.id, job.attempt, job.image.clone());
    let Fetched { plan, .. } = fetched;
    // What infrastructure ended is tried on another engine, if there is one.
    let avoid = job.engine.clone().filter(|_| job.failures > 0);
    let repository = job.repository.clone();
    let engine = runner.unless_cancelled(tools.engines.lease(&repository, avoid.as_deref())).await;
    runner.engine = engine.iter().flatten().next().map(EngineLease::engine);
    let work = log.within(tools.config.build_timeout, "BUILD_TIMEOUT", async {
        // The stage sees itself that it is cancelled.
        let Some(engine) = engine else { return std::future::pending().await };
        let engine = engine?;
        let commit = CommitId::from(snapshot.commit);
        let branch = fetched.git_ref.as_ref().map(|of| bare_name(&of.git_ref));
        let names = names(&text, &fetched.wanted.commit, &tools.config.image_tags, branch, commit.as_str(), &*log)?;
        let mut build_args = plan.build_args.clone();
        if !build_args.contains_key(epoch::NAME)
            && let Some(seconds) = epoch::of(&snapshot, plan.dockerfile.as_str()).await?
        {
            build_args.insert(epoch::NAME.into(), seconds.to_string());
        }
        let epoch = build_args
            .get(epoch::NAME)
            .and_then(|seconds| seconds.parse().ok())
            .filter(|s| (0..=epoch::LATEST).contains(s));
        let context = folder::of(&snapshot, &fetched.repo, &plan.context).await?;
        let labels = labels(&fetched.url, &snapshot, id, epoch);
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
            logins: RegistryLogins::new(tools.secrets.clone()),
        };
        let images: Vec<_> = names.iter().map(|name| name.image.clone()).collect();
        let built = engine.build(request, &images, &*log).await?;
        tools.metrics.build_steps(built.steps.cached, built.steps.run);
        log.write(format!("image: {}\n", built.image_id).as_bytes());
        Ok((BuiltImage { id: built.image_id, names, commit }, engine))
    });
    runner.stage(StageName::Build, &plan.command(&text), work).await
}

/// With a `SOURCE_DATE_EPOCH` they are the same for each build of a commit, so that the image can be.
fn labels(url: &str, snapshot: &Snapshot, id: JobId, epoch: Option<i64>) -> BTreeMap<String, String> {
    let created = epoch.map_or_else(Millis::now, |seconds| Millis(seconds.saturating_mul(1000)));
    let mut labels = BTreeMap::from([
        ("org.opencontainers.image.source".to_owned(), web_url(url)),
        ("org.opencontainers.image.revision".to_owned(), snapshot.commit.to_string()),
        ("org.opencontainers.image.created".to_owned(), created.to_string()),
    ]);
    if epoch.is_none() {
        labels.insert(JOB_LABEL.to_owned(), id.to_string());
    }
    labels
}

/// The address for `org.opencontainers.image.source`: of GitHub's ssh form, the page.
fn web_url(url: &str) -> String {
    let url = url.strip_suffix(".git").unwrap_or(url);
    match url.strip_prefix("git@github.com:") {
        Some(path) => format!("https://github.com/{path}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nowhere;
    impl LogSink for Nowhere {
        fn write(&self, _: &[u8]) {}
    }

    #[test]
    fn a_name_moves_unless_it_says_which_commit_it_is() {
        let commit = "1a2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d";
        let tag_object = "f".repeat(40);
        let templates =
            ["latest", "{branch}", "{short_sha}", "b-{sha}"].map(|template| TagTemplate::parse(template).unwrap());
        let moving_of = |own: &str, asked: &str, branch: Option<&str>| -> Vec<(String, bool)> {
            let asked = CommitSpec::parse(asked).unwrap();
            let names = names(&format!("q.io/a:{own}"), &asked, &templates, branch, commit, &Nowhere);
            let names = names.unwrap_or_else(|failed| panic!("{}", failed.message));
            names.into_iter().map(|name| (name.image.tag().to_owned(), name.moving)).collect()
        };
        let moving = |own: &str, asked: &str, branch: &str| moving_of(own, asked, Some(branch));
        let all = moving(commit, commit, "release-1a2b3c4");
        let expected = [(commit, false), ("latest", true), ("release-1a2b3c4", true), ("1a2b3c4", false)];
        let expected: Vec<_> = expected.map(|(tag, moving)| (tag.to_owned(), moving)).into();
        assert_eq!(all[..4], expected);
        assert_eq!(all[4], (format!("b-{commit}"), false));
        for (own, asked, is_moving) in [
            ("HEAD", "HEAD", true),
            ("prod", commit, true),
            ("v1-1a2b3c4", commit, true),
            (&tag_object, &tag_object, false),
            ("1a2b", "1A2B", false),
            ("1a2b", "HEAD", true),
            (commit, "HEAD", false),
        ] {
            assert_eq!(moving(own, asked, "main")[0], (own.to_owned(), is_moving), "{own} {asked}");
        }
        // Tags that say something of a branch are left out for a commit of none.
        let of_none = [commit.to_owned(), "1a2b3c4".into(), format!("b-{commit}")].map(|tag| (tag, false));
        assert_eq!(moving_of(commit, commit, None), of_none);
        // The job's own name is a template's, too: both know which commit it is.
        assert_eq!(moving("1a2b3c4", "HEAD", "main")[0], ("1a2b3c4".to_owned(), false));
    }
}
