use futures_util::future::join_all;

use super::stage::{End, Failed, Stagehand, within};
use super::{Slot, Tools};
use crate::engine::{EngineError, ErrorKind};
use crate::model::{ImageRef, LogSink, StageName};
use crate::secrets::RegistryAuth;

/// The layers of an image's further tags are the first one's: there is nothing to tell of them.
struct Quiet;

impl LogSink for Quiet {
    fn write(&self, _: &[u8]) {}
}

/// Pushes all names, again and again while the registry is in trouble, and returns the digest. The image is not built
/// again, and the build slot is free from the first wait on.
pub(super) async fn run(tools: &Tools, images: &[ImageRef], hand: &mut Stagehand, slot: Slot) -> Result<String, End> {
    let log = hand.log.clone();
    let config = &tools.config;
    let mut command = "docker push".to_owned();
    for image in images {
        command += &format!(" {image}");
    }
    let work = async {
        let mut push = Push { tools, images, log: &*log, digests: vec![None; images.len()] };
        let (mut slot, mut tries) = (Some(slot), 0);
        loop {
            // Read anew for each try: a password that was put right while a push waits is used.
            let secrets = tools.secrets.borrow().clone();
            log.mask(&secrets.masks());
            let registry = images[0].registry();
            let auth = secrets.registry_auth(registry);
            let limited = within(config.push_timeout, "PUSH_TIMEOUT", async { Ok(push.once(auth.as_ref()).await) });
            let error = match limited.await {
                Ok(Ok(digest)) => break Ok(digest),
                Ok(Err(error)) => error,
                Err(overdue) => break Err(push.partly(overdue)),
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
    hand.stage(StageName::Push, &command, work).await
}

/// The tags of one image on their way.
struct Push<'a> {
    tools: &'a Tools,
    /// The job's own first.
    images: &'a [ImageRef],
    log: &'a dyn LogSink,
    /// Of each image, once it is in the registry.
    digests: Vec<Option<String>>,
}

impl Push<'_> {
    /// Pushes what is not there yet: the first with its layers, then the others at once, of which each is a manifest.
    async fn once(&mut self, auth: Option<&RegistryAuth>) -> Result<String, EngineError> {
        let engine = &self.tools.engine;
        let digest = match &self.digests[0] {
            Some(digest) => digest.clone(),
            None => self.digests[0].insert(engine.push(&self.images[0], auth, self.log).await?).clone(),
        };
        let others = self.images.iter().zip(&mut self.digests).skip(1).filter(|(_, there)| there.is_none());
        let pushes = others.map(async |(image, there)| {
            let pushed = there.insert(engine.push(image, auth, &Quiet).await?);
            let line = match *pushed == digest {
                true => format!("{}: pushed, the same digest\n", image.tag()),
                // Tags are the engine's, which others build on, too.
                false => format!("{}: pushed, {pushed} of a build that took this tag meanwhile\n", image.tag()),
            };
            self.log.write(line.as_bytes());
            Ok(())
        });
        join_all(pushes).await.into_iter().collect::<Result<(), EngineError>>()?;
        Ok(digest)
    }

    /// Says which tags are there nevertheless, and which are not.
    fn partly(&self, failed: Failed) -> Failed {
        let tags = |wanted: bool| {
            let all = self.images.iter().zip(&self.digests).filter(|(_, there)| there.is_some() == wanted);
            all.map(|(image, _)| image.tag()).collect::<Vec<_>>().join(", ")
        };
        match tags(true).as_str() {
            "" => failed,
            there => Failed {
                message: format!("{}; pushed: {there}; not pushed: {}", failed.message, tags(false)),
                ..failed
            },
        }
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
