use futures_util::future::join_all;

use super::build::Built;
use super::stage::{End, Failed, Stagehand};
use super::{Slot, Tools};
use crate::engine::{EngineError, ErrorKind, Lease};
use crate::git::Mirror;
use crate::model::{FailureClass, ImageRef, LogSink, Origin, StageName};
use crate::secrets::RegistryAuth;

/// The layers of an image's further tags are the first one's: there is nothing to tell of them.
struct Quiet;

impl LogSink for Quiet {
    fn write(&self, _: &[u8]) {}
}

/// Why a try failed.
enum Trouble {
    Engine(EngineError),
    Here(Failed),
}

impl From<EngineError> for Trouble {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

/// What became of a name.
enum Fate {
    Open,
    /// It is in the registry, with this digest.
    Pushed(String),
    /// It has this commit, which is newer than ours.
    Stays(String),
}

/// Pushes all names, again and again while the registry is in trouble, and returns the digest. The image is not built
/// again, and the build slot is free from the first wait on.
pub(super) async fn run(
    tools: &Tools,
    engine: &Lease,
    mirror: &Mirror,
    built: &Built,
    hand: &mut Stagehand,
    slot: Slot,
) -> Result<String, End> {
    let log = hand.log.clone();
    let config = &tools.config;
    let mut command = "docker push".to_owned();
    for image in &built.names {
        command += &format!(" {image}");
    }
    let back = hand.job.origin == Origin::Rebuild;
    let work = async {
        let fates = built.names.iter().map(|_| Fate::Open).collect();
        let mut push = Push { way: Way { tools, engine, mirror, built, back, log: &*log }, fates };
        let (mut slot, mut tries) = (Some(slot), 0);
        loop {
            // Read anew for each try: a password that was put right while a push waits is used.
            let secrets = tools.secrets.borrow().clone();
            log.mask(&secrets.masks());
            let registry = built.names[0].registry();
            let auth = secrets.registry_auth(registry);
            let limited = log.within(config.push_timeout, "PUSH_TIMEOUT", async { Ok(push.once(auth.as_ref()).await) });
            let error = match limited.await {
                Ok(Ok(())) => break Ok(push.end()),
                Ok(Err(Trouble::Engine(error))) => error,
                Ok(Err(Trouble::Here(failed))) | Err(failed) => break Err(push.partly(failed)),
            };
            if error.kind != ErrorKind::Registry || tries == config.push_retries {
                break Err(push.partly(failed(registry, auth.is_some(), error)));
            }
            tries += 1;
            slot.take();
            let wait = config.push_retry_wait;
            log.write(
                format!(
                    "{registry}: {}\nTry {tries} of {} follows in {} s.\n",
                    error.message,
                    config.push_retries,
                    wait.as_secs()
                )
                .as_bytes(),
            );
            tokio::time::sleep(wait).await;
        }
    };
    hand.stage(StageName::Push, &command, work).await?
}

/// The names of one image on their way.
struct Push<'a> {
    way: Way<'a>,
    /// One of each name.
    fates: Vec<Fate>,
}

impl Push<'_> {
    /// Pushes what is not there yet: the first with its layers, then the others at once, of which each is a manifest.
    async fn once(&mut self, auth: Option<&RegistryAuth>) -> Result<(), Trouble> {
        for index in 0..self.fates.len() {
            if self.digest().is_none() && matches!(self.fates[index], Fate::Open) {
                self.fates[index] = self.way.push(&self.way.built.names[index], auth, self.way.log).await?;
            }
        }
        let Some(digest) = self.digest() else { return Ok(()) };
        let Self { way, fates } = self;
        let open = way.built.names.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Open));
        let pushes = open.map(async |(image, fate)| {
            *fate = way.push(image, auth, &Quiet).await?;
            if let Fate::Pushed(pushed) = fate {
                let same = if *pushed == digest { "the same digest" } else { &**pushed };
                way.log.write(format!("{}: pushed, {same}\n", image.tag()).as_bytes());
            }
            Ok(())
        });
        join_all(pushes).await.into_iter().collect()
    }

    fn digest(&self) -> Option<String> {
        self.fates.iter().find_map(|fate| match fate {
            Fate::Pushed(digest) => Some(digest.clone()),
            _ => None,
        })
    }

    /// When no name is open: the digest, or what all of them have instead.
    fn end(&self) -> Result<String, End> {
        let newer = self.fates.iter().find_map(|fate| match fate {
            Fate::Stays(newer) => Some(newer.clone()),
            _ => None,
        });
        self.digest().ok_or_else(|| End::Superseded(newer.unwrap_or_default()))
    }

    /// Says which tags are there nevertheless, and which are not.
    fn partly(&self, failed: Failed) -> Failed {
        let tags = |wanted: fn(&Fate) -> bool| {
            let all = self.way.built.names.iter().zip(&self.fates).filter(|(_, fate)| wanted(fate));
            all.map(|(image, _)| image.tag()).collect::<Vec<_>>().join(", ")
        };
        match tags(|fate| matches!(fate, Fate::Pushed(_))).as_str() {
            "" => failed,
            there => {
                let missing = tags(|fate| matches!(fate, Fate::Open));
                Failed { message: format!("{}; pushed: {there}; not pushed: {missing}", failed.message), ..failed }
            }
        }
    }
}

/// What every name is pushed with.
struct Way<'a> {
    tools: &'a Tools,
    engine: &'a Lease,
    mirror: &'a Mirror,
    built: &'a Built,
    /// Somebody asked for it anew: its tags may move back.
    back: bool,
    log: &'a dyn LogSink,
}

impl Way<'_> {
    /// Gives the image this name, in the engine and in the registry, unless that has a newer commit. Others that push the
    /// same name wait: the engine pushes what has the name then.
    async fn push(&self, image: &ImageRef, auth: Option<&RegistryAuth>, log: &dyn LogSink) -> Result<Fate, Trouble> {
        let Self { tools: Tools { tags, git, .. }, engine, mirror, built, .. } = self;
        let name = image.to_string();
        let _alone = tags.lock(&name).await;
        if !Built::is_named(&built.commit, image) {
            let unknown = |why| {
                let message = format!("which commit {name} has cannot be read or stored: {why}");
                Trouble::Here(Failed::new(FailureClass::LostWorker, message))
            };
            let holder = tags.holder(&name).await.map_err(unknown)?;
            if let Some(newer) = &holder
                && !self.back
                && git.is_ancestor(mirror, &built.commit, newer).await.map_err(|e| Trouble::Here(e.into()))?
            {
                let line = format!("{}: stays at {newer}, which is newer; a rebuild moves it back\n", image.tag());
                self.log.write(line.as_bytes());
                return Ok(Fate::Stays(newer.clone()));
            }
            // Before the push, which may arrive although it fails.
            if holder.as_ref() != Some(&built.commit) {
                tags.hold(&name, &built.commit).await.map_err(unknown)?;
            }
        }
        engine.tag(&built.id, image).await?;
        Ok(Fate::Pushed(engine.push(image, auth, log).await?))
    }
}

/// Says which registry it was, and what to do about a login that it refused.
fn failed(registry: &str, has_login: bool, error: EngineError) -> Failed {
    let advice = match (error.kind, has_login) {
        (ErrorKind::Auth, true) => "; is the login in the dockercfg right, and may it push there?",
        (ErrorKind::Auth, false) => "; the dockercfg has no login for it: `image-factory secrets put dockercfg FILE`",
        _ => "",
    };
    Failed { message: format!("{registry}: {}{advice}", error.message), ..error.into() }
}
