use futures_util::future::join_all;

use super::activity::ActivityLog;
use super::build::{ImageToPush, PlannedTag};
use super::clone::Fetched;
use super::failure::{JobEnd, KeptTag, StageFailure};
use super::stage::{StageRunner, TagResults};
use super::tags::Later;
use super::{BuildSlot, Tools, heads, protected};
use crate::engine::{EngineError, EngineLease, ErrorKind};
use crate::model::{
    CommitId, FailureClass, ImageRef, Job, LogSink, Millis, Origin, StageName, TagHolder, TagResult, WaitKind,
    bare_name, version_of,
};
use crate::secrets::RegistryAuth;

/// Discards output, because an image's further tags share the layers of the first.
struct DiscardedOutput;

impl LogSink for DiscardedOutput {
    fn write(&self, _: &[u8]) {}
}

/// The reason why a try failed.
enum PushError {
    Engine(EngineError),
    Stage(StageFailure),
}

impl From<EngineError> for PushError {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl From<StageFailure> for PushError {
    fn from(failed: StageFailure) -> Self {
        Self::Stage(failed)
    }
}

/// The state of a tag in the push stage.
enum PushState {
    /// The tag still has to be pushed.
    Open,
    /// The registry has the tag, with this digest.
    Pushed(String),
    /// The tag stays at this commit.
    Kept(KeptTag),
}

impl PushState {
    fn digest(&self) -> Option<&str> {
        match self {
            Self::Pushed(digest) => Some(digest),
            _ => None,
        }
    }

    fn kept_at(&self) -> Option<&CommitId> {
        match self {
            Self::Kept(kept) => Some(&kept.commit),
            _ => None,
        }
    }

    fn result(&self, image: &ImageRef) -> TagResult {
        let (digest, kept) = (self.digest().map(str::to_owned), self.kept_at().cloned());
        TagResult { name: image.to_string(), digest, kept }
    }
}

/// Pushes all names of all images, and returns the digest of the job's own name. A fault of the registry is followed by
/// further tries, without another build. The build slot is free from the first pause on.
pub(super) async fn run(
    tools: &Tools,
    engine: &EngineLease,
    fetched: &Fetched,
    images: &[ImageToPush],
    runner: &mut StageRunner,
    slot: BuildSlot,
) -> Result<Option<String>, JobEnd> {
    let (log, job, results) = (runner.log.clone(), runner.job.clone(), runner.tags.clone());
    let mut command = "docker push".to_owned();
    for PlannedTag { image, .. } in images.iter().flat_map(|image| &image.names) {
        command += &format!(" {image}");
        results.expect(&image.to_string());
    }
    let work = async {
        let (mut slot, mut digest) = (Some(slot), None);
        for built in images {
            let states = built.names.iter().map(|_| PushState::Open).collect();
            let context = PushContext { tools, engine, fetched, built, job: &job, log: &log };
            let mut push = TagPush { context, states, results: results.clone() };
            push.until_done(&mut slot).await?;
            if built.service.is_none() {
                match push.finish() {
                    Ok(own) => digest = Some(own),
                    superseded => return Ok(superseded.map(Some)),
                }
            }
        }
        Ok(Ok(digest))
    };
    runner.stage(StageName::Push, &command, work).await?
}

/// Ends the stage of a dry run, which pushes none of the names.
pub(super) async fn leave_out(images: &[ImageToPush], runner: &mut StageRunner) -> Result<(), JobEnd> {
    let names = images.iter().flat_map(|image| &image.names).map(|name| name.image.to_string());
    let names = names.collect::<Vec<_>>().join(" ");
    let log = runner.log.clone();
    let work = async {
        log.write(format!("Dry run: not pushed: {names}\n").as_bytes());
        Ok(())
    };
    runner.stage(StageName::Push, "docker push (dry run)", work).await
}

/// The push of one image's names.
struct TagPush<'a> {
    context: PushContext<'a>,
    /// State of each name, in the order of the names.
    states: Vec<PushState>,
    results: TagResults,
}

impl TagPush<'_> {
    /// Pushes until no name is open. The build slot is given away with the first pause.
    async fn until_done(&mut self, slot: &mut Option<BuildSlot>) -> Result<(), StageFailure> {
        let PushContext { tools, engine, built, log, job, .. } = self.context;
        let repo = job.repo();
        let config = &tools.config;
        let pauses = tools.pauses.of(job.id);
        let mut tries = 0;
        loop {
            // The secrets are read anew for each try, because the operator may have corrected a password during the pause.
            let secrets = tools.secrets.borrow().clone();
            log.mask(&secrets.masks(repo.as_ref()));
            // All names of an image are tags of one repository.
            let registry = built.names[0].image.registry();
            let auth = secrets.image_auth(repo.as_ref(), &built.names[0].image);
            let limited = log.within(config.push_timeout, "PUSH_TIMEOUT", async { Ok(self.once(auth.as_ref()).await) });
            let error = match limited.await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(PushError::Engine(error))) => error,
                Ok(Err(PushError::Stage(failed))) | Err(failed) => return Err(self.with_pushed_tags(failed)),
            };
            if error.kind != ErrorKind::Registry || tries == config.push_retries {
                return Err(self.with_pushed_tags(registry_failure(registry, auth.is_some(), error)));
            }
            tries += 1;
            slot.take();
            engine.free_slot();
            let (pause, retries) = (config.push_retry_wait, config.push_retries);
            let (message, next) = (log.masked(&error.message), Millis::now() + pause);
            let whose = "an operator has to act only if the registry stays so";
            let reason = format!("{registry}: {message}; try {tries} of {retries} begins at {next}, and {whose}");
            pauses.note(WaitKind::Registry, &reason);
            log.write(
                format!("{registry}: {}\nTry {tries} of {retries} follows in {} s.\n", error.message, pause.as_secs())
                    .as_bytes(),
            );
            tokio::time::sleep(pause).await;
        }
    }

    /// Pushes the open names: the first with the layers, then the others at the same time, because each is only a manifest.
    async fn once(&mut self, auth: Option<&RegistryAuth>) -> Result<(), PushError> {
        let Self { context, states, results } = self;
        let names = &context.built.names;
        for (index, name) in names.iter().enumerate() {
            if states.iter().all(|state| state.digest().is_none()) && matches!(states[index], PushState::Open) {
                states[index] = context.push(index, auth, context.log).await?;
                results.put(states[index].result(&name.image));
                if let Some(pushed) = states[index].digest().filter(|_| index > 0) {
                    context.log.write(format!("{}: pushed, {pushed}\n", name.image.tag()).as_bytes());
                }
            }
        }
        let Some(digest) = states.iter().find_map(PushState::digest).map(str::to_owned) else { return Ok(()) };
        let open = states.iter_mut().enumerate().filter(|(_, state)| matches!(state, PushState::Open));
        let pushes = open.map(async |(index, state)| {
            *state = context.push(index, auth, &DiscardedOutput).await?;
            let image = &names[index].image;
            results.put(state.result(image));
            if let Some(pushed) = state.digest() {
                let same = if pushed == digest { "the same digest" } else { pushed };
                context.log.write(format!("{}: pushed, {same}\n", image.tag()).as_bytes());
            }
            Ok(())
        });
        join_all(pushes).await.into_iter().collect()
    }

    /// Returns the digest of the job's own tag, or the commit that keeps it, once no tag is open.
    fn finish(&self) -> Result<String, JobEnd> {
        match &self.states[0] {
            PushState::Kept(kept) => Err(JobEnd::Superseded(kept.clone())),
            own => Ok(own.digest().unwrap_or_default().to_owned()),
        }
    }

    /// Adds to the failure which tags were pushed and which were not.
    fn with_pushed_tags(&self, failed: StageFailure) -> StageFailure {
        let tags = |is_listed: fn(&PushState) -> bool| {
            let all = self.context.built.names.iter().zip(&self.states).filter(|(_, state)| is_listed(state));
            all.map(|(name, _)| name.image.tag()).collect::<Vec<_>>().join(", ")
        };
        match tags(|state| matches!(state, PushState::Pushed(_))).as_str() {
            "" => failed,
            pushed => {
                let missing = tags(|state| matches!(state, PushState::Open));
                StageFailure {
                    message: format!("{}; pushed: {pushed}; not pushed: {missing}", failed.message),
                    ..failed
                }
            }
        }
    }
}

/// The values that the push of every name needs.
#[derive(Clone, Copy)]
struct PushContext<'a> {
    tools: &'a Tools,
    engine: &'a EngineLease,
    fetched: &'a Fetched,
    built: &'a ImageToPush,
    job: &'a Job,
    log: &'a ActivityLog,
}

impl PushContext<'_> {
    /// Gives the image a name in the engine and in the registry, unless the tag has to stay where it is. Other jobs that push
    /// the same name wait, because the engine pushes whichever image has the name at that moment.
    async fn push(&self, index: usize, auth: Option<&RegistryAuth>, log: &dyn LogSink) -> Result<PushState, PushError> {
        let Self { tools, engine, built, .. } = self;
        let PlannedTag { image, moving, of_versions } = &built.names[index];
        let key = image.key();
        let _tag_lock = tools.tags.lock(&key).await;
        let former = tools.tags.ledger.holder(&key).await.map_err(StageFailure::from)?;
        let holder = self.holder(former.as_ref(), index);
        if let Some((protected, commit)) = self.protector(former.as_ref(), &holder, index).await? {
            let tag = image.tag();
            if self.is_unconditional(index) {
                let message = format!("{tag} is a tag of {protected}, which is protected: have an admin set it");
                return Err(StageFailure::new(FailureClass::Source, message).into());
            }
            let place = if former.is_some() { format!("stays at {commit}") } else { "is not set".into() };
            let line = format!("{tag}: {place}, as a tag of {protected}, which is protected; an admin may move it\n");
            self.log.write(line.as_bytes());
            return Ok(PushState::Kept(KeptTag { commit, protected_ref: Some(protected) }));
        }
        if let Some(former) = former.as_ref().filter(|_| *moving && !self.is_unconditional(index))
            && let Some(reason) = self.reason_to_stay(former, *of_versions).await?
        {
            let line = format!(
                "{}: stays at {}, {reason}; a rebuild, or a request for this tag by name, moves it\n",
                image.tag(),
                former.commit
            );
            self.log.write(line.as_bytes());
            return Ok(PushState::Kept(KeptTag { commit: former.commit.clone(), protected_ref: None }));
        }
        if let Some(line) = former.as_ref().and_then(|former| replaced_line(image, former, &holder)) {
            self.log.write(line.as_bytes());
        }
        engine.tag(&built.id, image).await?;
        let digest = match engine.push(image, auth, log).await {
            Err(refusal) if refusal.kind == ErrorKind::Immutable => self.digest_there(image, auth, refusal).await?,
            pushed => pushed?,
        };
        // The holder is stored after the push, because a push that failed or was cut off must not keep the tag from other
        // jobs. If such a push reached the registry all the same, its job repeats it or has reported a failure.
        if former.as_ref() != Some(&holder)
            && let Err(error) = tools.tags.ledger.set_holder(&key, &holder).await
        {
            if *moving {
                return Err(StageFailure::from(error).into());
            }
            // The holder of a name that contains its commit serves the log line above alone, so a full disk fails no job.
            tracing::warn!(%error, image = key, "the image that has a tag cannot be stored");
        }
        Ok(PushState::Pushed(digest))
    }

    /// Returns the digest of an immutable tag that has this very image already, as after a push whose answer was lost.
    async fn digest_there(
        &self,
        image: &ImageRef,
        auth: Option<&RegistryAuth>,
        mut refusal: EngineError,
    ) -> Result<String, EngineError> {
        let there = match self.tools.registries.manifest(image, auth).await {
            Ok(Some(there)) if there.is_image(&self.built.id) => {
                let line = format!("{}: the registry refuses to move it, and it has this image already\n", image.tag());
                self.log.write(line.as_bytes());
                return Ok(there.digest);
            }
            Ok(Some(there)) => format!("it has another image there, {}", there.digest),
            Ok(None) => "there is no such tag".into(),
            Err(error) => format!("its image there cannot be read ({error})"),
        };
        refusal.message = format!("{}: {}; {there}", image.tag(), refusal.message);
        Err(refusal)
    }

    /// Returns whether a person requested just this tag, or a rebuild of the whole job.
    fn is_unconditional(&self, index: usize) -> bool {
        self.job.origin == Origin::Rebuild || (index == 0 && self.built.service.is_none() && self.job.tag_named)
    }

    /// Returns the protected ref that this job may not take the tag from, because it has set the tag or the rules give it
    /// the tag, and the commit that keeps the tag.
    async fn protector(
        &self,
        former: Option<&TagHolder>,
        holder: &TagHolder,
        index: usize,
    ) -> Result<Option<(String, CommitId)>, StageFailure> {
        let Self { tools, fetched, built, job, .. } = self;
        if let Some(former) = former
            && let Some(name) = self.protected_from(former, holder, index)
        {
            return Ok(Some((name.to_owned(), former.commit.clone())));
        }
        let own = holder.git_ref.as_ref().map(|of| of.git_ref.as_str());
        let PlannedTag { image, moving, .. } = &built.names[index];
        if job.by_admin || !moving || tools.config.sharing.is_protected(own) {
            return Ok(None);
        }
        let found = protected::ref_of_tag(tools, fetched, job, image.tag()).await?;
        Ok(found.map(|(name, head)| (name, former.map_or(head, |former| former.commit.clone()))))
    }

    /// Returns the protected ref whose tag this is, if this job may not set it: the job is none of a protected ref, or sets
    /// the tag to another image whatever it names now, and no admin asked for it.
    fn protected_from<'h>(&self, former: &'h TagHolder, holder: &TagHolder, index: usize) -> Option<&'h str> {
        let sharing = &self.tools.config.sharing;
        let is_protected = |name: &&str| sharing.is_protected(Some(name));
        let set_by = former.git_ref.as_ref().map(|of| of.git_ref.as_str());
        let protected = former.protected_ref.as_deref().into_iter().chain(set_by).find(is_protected)?;
        let is_same = former.commit == holder.commit && former.recipe == holder.recipe;
        let is_ours = holder.git_ref.as_ref().is_some_and(|of| sharing.is_protected(Some(&of.git_ref)))
            && (is_same || !self.is_unconditional(index));
        (!is_ours && !self.job.by_admin).then_some(protected)
    }

    /// Returns the reason why a tag stays where it is, or `None` if it moves to this image.
    async fn reason_to_stay(&self, former: &TagHolder, of_versions: bool) -> Result<Option<String>, StageFailure> {
        let Self { tools, fetched, built, job, log, .. } = self;
        let is_other = former.commit != built.commit;
        if is_other && !former.moving {
            return Ok(Some("which it is the id of".into()));
        }
        if former.named && former.job > Some(job.id) {
            return Ok(Some("which was asked for after this job".into()));
        }
        if let (true, Some(theirs), Some(ours)) = (of_versions, &former.git_ref, &fetched.git_ref)
            && theirs.repository == ours.repository
            && version_of(&theirs.git_ref) > version_of(&ours.git_ref)
        {
            return Ok(Some(format!("which is the greater version {}", bare_name(&theirs.git_ref))));
        }
        if let Some(of) = &fetched.git_ref
            && is_other
            && former.git_ref.as_ref() == Some(of)
            && heads::later_head(tools, fetched, job, (built.commit.as_str(), of), former, *log).await? == Later::Theirs
        {
            return Ok(Some(format!("which {} named later", of.git_ref)));
        }
        Ok(None)
    }

    /// Returns this image as the new holder of a tag. If the former holder has the same commit and ref, the newer of both jobs
    /// is stored, because the ref may have come back to the commit since the older job.
    fn holder(&self, former: Option<&TagHolder>, index: usize) -> TagHolder {
        let Self { fetched, built, job, .. } = self;
        let git_ref = fetched.git_ref.clone();
        let name = git_ref.as_ref().map(|of| of.git_ref.clone());
        let protected_ref = name.filter(|name| self.tools.config.sharing.is_protected(Some(name)));
        let protected_ref = protected_ref.or_else(|| former.and_then(|former| former.protected_ref.clone()));
        let same = former.filter(|former| former.commit == built.commit && former.git_ref == git_ref);
        let job = same.and_then(|former| former.job).max(Some(job.id));
        TagHolder {
            commit: built.commit.clone(),
            git_ref,
            job,
            recipe: Some(
                built.service.as_ref().map_or_else(|| fetched.plan.recipe(), |name| format!("service {name}")),
            ),
            moving: built.names[index].moving,
            named: self.is_unconditional(index) || same.is_some_and(|former| former.named),
            protected_ref,
        }
    }
}

/// Returns the log line about another image of the same commit that loses its name.
fn replaced_line(name: &ImageRef, former: &TagHolder, holder: &TagHolder) -> Option<String> {
    let [theirs, ours] = [former, holder].map(|holder| holder.recipe.as_deref());
    let (job, theirs, ours) = (former.job?, theirs?, ours?);
    (former.commit == holder.commit && theirs != ours)
        .then(|| format!("{name} was the image of job {job} ({theirs}); it is this job's now ({ours})\n"))
}

/// Makes a failure that names the registry and, for a refused or missing login, the remedy.
fn registry_failure(registry: &str, has_login: bool, error: EngineError) -> StageFailure {
    let words = &error.message;
    let message = match (error.kind, has_login) {
        (ErrorKind::Login | ErrorKind::Auth, true) => {
            format!("{registry}: {words}; is the login in the dockercfg right, and may it push there?")
        }
        (ErrorKind::Login | ErrorKind::Auth, false) => {
            // Docker's words for a missing login say no more than this message.
            let words = if words == "no basic auth credentials" { String::new() } else { format!(" ({words})") };
            let cure = "store one by `image-factory secrets put dockercfg FILE`";
            format!("{registry} asks for a login, and the dockercfg has none for it{words}: {cure}")
        }
        _ => format!("{registry}: {words}"),
    };
    // A push without a login is the operator's fault, because nobody else has logins.
    let class = match (error.kind, has_login) {
        (ErrorKind::Auth, false) => FailureClass::Config,
        (kind, _) => kind.class(),
    };
    StageFailure { message, class, ..error.into() }
}
