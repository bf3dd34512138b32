use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::authorized::HEADER;
use super::source::{Contents, Source};
use super::value::{self, Opened, Value};
use super::{Name, Secrets, SecretsConfig, SecretsError, digest, file};
use crate::model::Millis;

/// What is known of one stored secret.
#[derive(Clone)]
pub(super) struct Held {
    /// Of the stored bytes: the same ones are not decrypted again (bcrypt takes 110 ms).
    digest: [u8; 32],
    /// The last good value, and when it was read.
    opened: Option<(Arc<Opened>, Millis)>,
    /// What is wrong with what is stored now.
    trouble: Vec<String>,
}

impl Held {
    pub(super) fn value(&self) -> Option<&Value> {
        self.opened.as_ref().map(|(opened, _)| &opened.value)
    }

    pub(super) fn since(&self) -> Option<Millis> {
        self.opened.as_ref().map(|(_, since)| *since)
    }

    /// What is stored now can be used, all of it.
    pub(super) fn is_well(&self) -> bool {
        self.trouble.is_empty()
    }
}

/// Keeps the snapshot up to date until it is dropped.
pub(super) async fn run(config: SecretsConfig, snapshot: watch::Sender<Arc<Secrets>>) {
    let mut source = Source::new(&config.place);
    let passphrase = config.passphrase.clone().filter(|p| !p.is_empty());
    let (mut held, mut loaded) = (BTreeMap::new(), false);
    loop {
        let (mut trouble, mut changed) = (Vec::new(), false);
        match source.next().await {
            Ok(contents) => {
                trouble.extend(contents.trouble.iter().cloned());
                changed = update(&mut held, contents, passphrase.as_ref()).await || !loaded;
                loaded = true;
            }
            Err(e) if loaded => trouble.push(format!("{e}; what was read last stays in use")),
            Err(e) => trouble.push(format!("{e}; no job starts until it can be")),
        }
        trouble.extend(held.iter().flat_map(|(name, h)| h.trouble.iter().map(move |t| format!("{name}: {t}"))));
        if let (true, Some(path)) = (loaded, &config.authorized_keys_file) {
            let keys = match held.get(&Name::AuthorizedKeys).and_then(Held::value) {
                Some(Value::AuthorizedKeys(keys)) => Some(keys.to_file()),
                _ => None,
            };
            trouble.extend(write_authorized_keys(path.clone(), keys).await.err().map(|e| e.to_string()));
        }
        report(&snapshot.borrow().trouble, &trouble);
        snapshot.send_if_modified(|current| {
            let modified = changed || current.trouble != trouble;
            if modified {
                *current = Arc::new(Secrets { loaded, trouble, held: held.clone() });
            }
            modified
        });
    }
}

/// Takes over what is stored now. True: something can be used, or can no longer, that was not so before.
async fn update(held: &mut BTreeMap<Name, Held>, contents: Contents, passphrase: Option<&Zeroizing<String>>) -> bool {
    let mut changed = false;
    held.retain(|name, _| {
        let stays = contents.values.contains_key(name);
        if !stays {
            tracing::info!("{name}: deleted, no longer in use");
            changed = true;
        }
        stays
    });
    let new = contents.values.into_iter().map(|(name, stored)| (digest(&stored), name, stored));
    let new: Vec<_> = new.filter(|(digest, name, _)| held.get(name).is_none_or(|h| h.digest != *digest)).collect();
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut opening = stream::iter(new)
        .map(|(digest, name, stored)| async move { (digest, name.clone(), open(name, stored, passphrase).await) })
        .buffer_unordered(processors);
    while let Some((digest, name, opened)) = opening.next().await {
        let last = held.remove(&name).and_then(|h| h.opened);
        let now = match opened {
            Ok(opened) => {
                match opened.bare {
                    false => tracing::info!("{name}: loaded {}", opened.describe()),
                    true => tracing::warn!("{name}: loaded {}", opened.describe()),
                }
                changed = true;
                Held { digest, trouble: opened.trouble.clone(), opened: Some((Arc::new(opened), Millis::now())) }
            }
            Err(e) => {
                let use_of = if last.is_some() { "the last good one stays in use" } else { "it is not used" };
                Held { digest, trouble: vec![format!("{e}; {use_of}")], opened: last }
            }
        };
        held.insert(name, now);
    }
    changed
}

/// [`value::open`] on a thread that may block.
pub(super) async fn open(
    name: Name,
    stored: Result<Zeroizing<Vec<u8>>, SecretsError>,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<Opened, SecretsError> {
    let (stored, passphrase) = (stored?, passphrase.cloned());
    let opening = spawn_blocking(move || value::open(&name, &stored, passphrase.as_ref().map(|p| p.as_str())));
    opening.await.unwrap_or_else(|e| Err(SecretsError(format!("it could not be read: {e}"))))
}

/// Makes the file for an sshd what is stored. With nothing stored, what we wrote there is emptied, so that a deleted
/// key does not open for ever; a file that is not ours is left alone.
async fn write_authorized_keys(path: PathBuf, keys: Option<String>) -> Result<(), SecretsError> {
    let shown = path.display().to_string();
    let writing = spawn_blocking(move || {
        let current = std::fs::read_to_string(&path);
        let wanted = match keys {
            Some(keys) => keys,
            None if current.as_ref().is_ok_and(|c| c.starts_with(HEADER)) => HEADER.into(),
            None => return Ok(false),
        };
        match current {
            Ok(current) if current == wanted => Ok(false),
            _ => file::replace(&path, wanted.as_bytes()).map(|()| true),
        }
    });
    match writing.await.unwrap_or_else(|e| Err(e.into())) {
        Ok(true) => tracing::info!("wrote {shown}"),
        Ok(false) => {}
        Err(e) => {
            return Err(SecretsError(format!(
                "AUTHORIZED_KEYS_FILE {shown} cannot be written: {e}; it is tried again with the next change of a secret"
            )));
        }
    }
    Ok(())
}

fn report(before: &[String], now: &[String]) {
    now.iter().filter(|t| !before.contains(t)).for_each(|t| tracing::warn!("{t}"));
    before.iter().filter(|t| !now.contains(t)).for_each(|t| tracing::info!("no longer so: {t}"));
}
