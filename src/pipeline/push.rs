use super::stage::{End, Failed, Stagehand, within};
use super::{Slot, Tools};
use crate::engine::{EngineError, ErrorKind};
use crate::model::{ImageRef, LogSink, StageName};

/// Pushes, again and again while the registry is in trouble, and returns the digest. The image is not built again, and
/// the build slot is free from the first wait on.
pub(super) async fn run(tools: &Tools, image: &ImageRef, hand: &mut Stagehand, slot: Slot) -> Result<String, End> {
    let log = hand.log.clone();
    let config = &tools.config;
    let work = async {
        let mut slot = Some(slot);
        let mut tries = 0;
        loop {
            // Read anew for each try: a password that was put right while a push waits is used.
            let secrets = tools.secrets.borrow().clone();
            log.mask(secrets.masks());
            let auth = secrets.registry_auth(image.registry());
            let push = tools.engine.push(image, auth.as_ref(), &*log);
            let error = match within(config.push_timeout, "PUSH_TIMEOUT", async { Ok(push.await) }).await? {
                Ok(digest) => break Ok(digest),
                Err(e) => e,
            };
            if error.kind != ErrorKind::Registry || tries == config.push_retries {
                break Err(failed(image, auth.is_some(), error));
            }
            tries += 1;
            slot.take();
            let wait = config.push_retry_wait;
            log.write(
                format!(
                    "{}: {}\nTry {tries} of {} follows in {} s.\n",
                    image.registry(),
                    error.message,
                    config.push_retries,
                    wait.as_secs()
                )
                .as_bytes(),
            );
            tokio::time::sleep(wait).await;
        }
    };
    hand.stage(StageName::Push, &format!("docker push {image}"), work).await
}

/// Says which registry it was, and what to do about a login that it refused.
fn failed(image: &ImageRef, has_login: bool, error: EngineError) -> Failed {
    let registry = image.registry();
    let advice = match (error.kind, has_login) {
        (ErrorKind::Auth, true) => "; is the login in the dockercfg right, and may it push there?",
        (ErrorKind::Auth, false) => "; the dockercfg has no login for it: `image-factory secrets put dockercfg FILE`",
        _ => "",
    };
    Failed::new(format!("{registry}: {}{advice}", error.message))
}
