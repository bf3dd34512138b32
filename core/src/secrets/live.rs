use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::authorized::HEADER;
use super::contents::Contents;
use super::name;
use super::source::Source;
use super::value::{self, Opened, SecretValue};
use super::{Scope, SecretName, Secrets, SecretsConfig, SecretsError, digest, fingerprint};
use crate::durable::replace_file;
use crate::model::{Millis, RepoCase};

/// Pause before the file for an sshd is written again.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// A secret that is stored, with its last good value and its faults.
#[derive(Clone)]
pub(super) struct StoredSecret {
    /// Digest of the stored bytes. Bytes that have not changed are not decrypted again, because bcrypt takes 110 ms.
    digest: [u8; 32],
    /// True if the present value is stored unencrypted although its kind is meant to be encrypted.
    is_bare: bool,
    /// The last good value, and the time at which it was read.
    opened: Option<(Arc<Opened>, Millis)>,
    /// The reason why nothing of the present value can be used.
    refused: Option<SecretsError>,
    /// Faults of the present value, one line each.
    trouble: Vec<String>,
}

impl StoredSecret {
    pub(super) fn value(&self) -> Option<&SecretValue> {
        self.opened.as_ref().map(|(opened, _)| &opened.value)
    }

    /// Returns the reason why no value can be used; `None` if the present value or a former one can.
    pub(super) fn unusable(&self) -> Option<&SecretsError> {
        self.refused.as_ref().filter(|_| self.opened.is_none())
    }

    pub(super) fn since(&self) -> Option<Millis> {
        self.opened.as_ref().map(|(_, since)| *since)
    }

    pub(super) fn fingerprint(&self) -> Option<String> {
        fingerprint(&self.digest, self.is_bare)
    }

    /// Returns true if all of the present value can be used.
    pub(super) fn is_well(&self) -> bool {
        self.trouble.is_empty()
    }
}

/// Keeps the snapshot up to date until it is dropped.
pub(super) async fn run(config: SecretsConfig, snapshot: watch::Sender<Arc<Secrets>>) {
    let mut source = Source::new(&config.place);
    let passphrase = config.passphrase.clone().filter(|p| !p.is_empty());
    let authorized_keys_file = config.authorized_keys_file;
    let repo_case = config.repo_case;
    let (held, place) = (BTreeMap::new(), Vec::new());
    let described = config.place.describe();
    let mut loader = Loader { described, authorized_keys_file, repo_case, snapshot, held, loaded: false, place };
    let mut is_written = true;
    loop {
        // The call to the source is kept over the retries, because a new call would lose what this one has read.
        let mut next = pin!(source.next());
        let read = loop {
            tokio::select! {
                read = &mut next => break read,
                () = sleep(WRITE_AGAIN), if !is_written => is_written = loader.publish(false).await,
            }
        };
        let mut changed = false;
        loader.place = match read {
            Ok(contents) => {
                let trouble = contents.trouble.clone();
                changed = update(&mut loader.held, contents, passphrase.as_ref()).await || !loader.loaded;
                loader.loaded = true;
                trouble
            }
            Err(e) if loader.loaded => vec![format!("{e}; what was read last stays in use")],
            Err(e) => vec![format!("{e}; no job starts until it can be")],
        };
        is_written = loader.publish(changed).await;
    }
}

/// The secrets that were read so far, and the channel that publishes them.
struct Loader {
    /// [`Place::describe`](super::Place::describe).
    described: String,
    authorized_keys_file: Option<PathBuf>,
    repo_case: RepoCase,
    snapshot: watch::Sender<Arc<Secrets>>,
    held: BTreeMap<SecretName, StoredSecret>,
    loaded: bool,
    /// Faults of the place, and of names in it.
    place: Vec<String>,
}

impl Loader {
    /// Writes the file for an sshd. Publishes a new snapshot if a stored value has changed (`changed`), or if the trouble
    /// differs. Returns false if the file could not be written.
    async fn publish(&self, changed: bool) -> bool {
        let mut trouble = self.place.clone();
        trouble.extend(self.held.iter().flat_map(|(name, h)| h.trouble.iter().map(move |t| format!("{name}: {t}"))));
        let ambiguous = name::ambiguous(self.held.keys(), self.repo_case);
        trouble.extend(ambiguous.iter().map(|(name, other)| format!("{name}: {}", name::why_ambiguous(other))));
        let mut is_written = true;
        if let (true, Some(path)) = (self.loaded, &self.authorized_keys_file) {
            let keys = match self.held.get(&SecretName::AuthorizedKeys).and_then(StoredSecret::value) {
                Some(SecretValue::AuthorizedKeys(keys)) => Some(keys.to_file()),
                _ => None,
            };
            if let Err(e) = write_authorized_keys(path.clone(), keys).await {
                is_written = false;
                trouble.push(e.to_string());
            }
        }
        report(&self.snapshot.borrow().trouble, &trouble);
        self.snapshot.send_if_modified(|current| {
            let modified = changed || current.trouble != trouble;
            if modified {
                *current = Arc::new(Secrets {
                    loaded: self.loaded,
                    place: self.described.clone(),
                    trouble,
                    repo_case: self.repo_case,
                    held: self.held.clone(),
                });
            }
            modified
        });
        is_written
    }
}

/// Updates `held` to the contents that are stored now. Returns true if any stored value has changed.
async fn update(
    held: &mut BTreeMap<SecretName, StoredSecret>,
    contents: Contents,
    passphrase: Option<&Zeroizing<String>>,
) -> bool {
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
    changed |= !new.is_empty();
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut opening = stream::iter(new)
        .map(|(digest, name, stored)| async move {
            let is_bare = value::is_bare(&name, &stored);
            (digest, is_bare, name.clone(), open(name, stored, passphrase).await)
        })
        .buffer_unordered(processors);
    while let Some((digest, is_bare, name, opened)) = opening.next().await {
        let last = held.remove(&name).and_then(|h| h.opened);
        // An old list of authorized keys is dropped, because it may contain a key that was removed since.
        let last = last.filter(|_| name != SecretName::AuthorizedKeys);
        let now = match opened {
            Ok(opened) => {
                match opened.bare {
                    false => tracing::info!("{name}: loaded {}", opened.describe()),
                    true => tracing::warn!("{name}: loaded {}", opened.describe()),
                }
                let trouble = opened.trouble.clone();
                StoredSecret {
                    digest,
                    is_bare,
                    trouble,
                    opened: Some((Arc::new(opened), Millis::now())),
                    refused: None,
                }
            }
            Err(e) => {
                let use_of = if last.is_some() { "the last good one stays in use" } else { without(&name) };
                let trouble = vec![format!("{e}; {use_of}")];
                StoredSecret { digest, is_bare, trouble, opened: last, refused: Some(e) }
            }
        };
        held.insert(name, now);
    }
    changed
}

/// The consequence where the value that is stored as `name` cannot be used.
pub(super) fn without(name: &SecretName) -> &'static str {
    match name {
        SecretName::GithubKey(_) => "it is not used, and no other key in its place",
        SecretName::AuthorizedKeys => "it lets nobody in",
        SecretName::Dockercfg(Scope::Owner(_) | Scope::Repo(..)) => {
            "it is not used, and no more general login in its place"
        }
        SecretName::EngineKey | SecretName::Dockercfg(Scope::Common) | SecretName::SyslogHost => "it is not used",
    }
}

/// Runs [`value::open`] on a thread that may block.
pub(super) async fn open(
    name: SecretName,
    stored: Result<Zeroizing<Vec<u8>>, SecretsError>,
    passphrase: Option<&Zeroizing<String>>,
) -> Result<Opened, SecretsError> {
    let (stored, passphrase) = (stored?, passphrase.cloned());
    let opening = spawn_blocking(move || value::open(&name, &stored, passphrase.as_ref().map(|p| p.as_str())));
    opening.await.unwrap_or_else(|e| Err(SecretsError(format!("it could not be read: {e}"))))
}

/// Writes the stored keys to the file for an sshd. If there are no keys that can be read, a file that the daemon wrote is
/// emptied, because a deleted key must not open for ever; any other file is left alone.
async fn write_authorized_keys(path: PathBuf, keys: Option<Vec<u8>>) -> Result<(), SecretsError> {
    let shown = path.display().to_string();
    let writing = spawn_blocking(move || {
        let current = std::fs::read(&path);
        let wanted = match keys {
            Some(keys) => keys,
            None if current.as_ref().is_ok_and(|c| c.starts_with(HEADER.as_bytes())) => HEADER.into(),
            None => return Ok(false),
        };
        match current {
            Ok(current) if current == wanted => Ok(false),
            _ => replace_file(&path, 0o600, &wanted).map(|()| true),
        }
    });
    match writing.await.unwrap_or_else(|e| Err(e.into())) {
        Ok(true) => tracing::info!("wrote {shown}"),
        Ok(false) => {}
        Err(e) => {
            return Err(SecretsError(format!(
                "AUTHORIZED_KEYS_FILE {shown} cannot be written: {e}; until it can, it lets in whom it let in before"
            )));
        }
    }
    Ok(())
}

/// Logs the trouble that is new, and the trouble that has gone.
fn report(before: &[String], now: &[String]) {
    now.iter().filter(|t| !before.contains(t)).for_each(|t| tracing::warn!("{t}"));
    before.iter().filter(|t| !now.contains(t)).for_each(|t| tracing::info!("no longer true: {t}"));
}
