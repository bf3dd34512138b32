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
use super::name;
use super::source::{Contents, Source};
use super::value::{self, Opened, Value};
use super::{Name, Secrets, SecretsConfig, SecretsError, digest};
use crate::durable::replace_file;
use crate::model::{Millis, RepoCase};

/// The wait before the file for an sshd is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(10);

/// What is known of one stored secret.
#[derive(Clone)]
pub(super) struct Held {
    /// Of the stored bytes: the same ones are not decrypted again (bcrypt takes 110 ms).
    digest: [u8; 32],
    /// The last good value, and when it was read.
    opened: Option<(Arc<Opened>, Millis)>,
    /// Why what is stored now cannot be used at all.
    refused: Option<SecretsError>,
    /// What is wrong with what is stored now.
    trouble: Vec<String>,
}

impl Held {
    pub(super) fn value(&self) -> Option<&Value> {
        self.opened.as_ref().map(|(opened, _)| &opened.value)
    }

    /// Why nothing that was ever stored here can be used; none if something can.
    pub(super) fn unusable(&self) -> Option<&SecretsError> {
        self.refused.as_ref().filter(|_| self.opened.is_none())
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
    let authorized_keys_file = config.authorized_keys_file;
    let repo_case = config.repo_case;
    let (held, place) = (BTreeMap::new(), Vec::new());
    let mut loader = Loader { authorized_keys_file, repo_case, snapshot, held, loaded: false, place };
    let mut is_written = true;
    loop {
        // The source is not asked anew meanwhile, because what it has seen would be lost with the question.
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

/// The secrets that were read so far, and who is told of them.
struct Loader {
    authorized_keys_file: Option<PathBuf>,
    repo_case: RepoCase,
    snapshot: watch::Sender<Arc<Secrets>>,
    held: BTreeMap<Name, Held>,
    loaded: bool,
    /// The troubles of the place, and of names in it.
    place: Vec<String>,
}

impl Loader {
    /// Writes the file for an sshd, and gives out a new snapshot if something can be used that could not, or the other
    /// way round (`changed`), or if the trouble is another one. False: the file was not written.
    async fn publish(&self, changed: bool) -> bool {
        let mut trouble = self.place.clone();
        trouble.extend(self.held.iter().flat_map(|(name, h)| h.trouble.iter().map(move |t| format!("{name}: {t}"))));
        let ambiguous = name::ambiguous(self.held.keys(), self.repo_case);
        trouble.extend(ambiguous.iter().map(|(name, other)| format!("{name}: {}", name::why_ambiguous(other))));
        let mut is_written = true;
        if let (true, Some(path)) = (self.loaded, &self.authorized_keys_file) {
            let keys = match self.held.get(&Name::AuthorizedKeys).and_then(Held::value) {
                Some(Value::AuthorizedKeys(keys)) => Some(keys.to_file()),
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
        // A list that was replaced is not used on: it may have a key that was taken out of it.
        let last = last.filter(|_| name != Name::AuthorizedKeys);
        let now = match opened {
            Ok(opened) => {
                match opened.bare {
                    false => tracing::info!("{name}: loaded {}", opened.describe()),
                    true => tracing::warn!("{name}: loaded {}", opened.describe()),
                }
                changed = true;
                let trouble = opened.trouble.clone();
                Held { digest, trouble, opened: Some((Arc::new(opened), Millis::now())), refused: None }
            }
            Err(e) => {
                changed |= name == Name::AuthorizedKeys;
                let use_of = if last.is_some() { "the last good one stays in use" } else { without(&name) };
                Held { digest, trouble: vec![format!("{e}; {use_of}")], opened: last, refused: Some(e) }
            }
        };
        held.insert(name, now);
    }
    changed
}

/// The consequence where the value that is stored as `name` cannot be used.
pub(super) fn without(name: &Name) -> &'static str {
    match name {
        Name::GithubKey(_) => "it is not used, and no other key in its place",
        Name::AuthorizedKeys => "it lets nobody in",
        Name::Dockercfg | Name::SyslogHost => "it is not used",
    }
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

/// Makes the file for an sshd what is stored. With nothing stored, or nothing that can be read, what we wrote there is
/// emptied, so that a deleted key does not open for ever; a file that is not ours is left alone.
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

fn report(before: &[String], now: &[String]) {
    now.iter().filter(|t| !before.contains(t)).for_each(|t| tracing::warn!("{t}"));
    before.iter().filter(|t| !now.contains(t)).for_each(|t| tracing::info!("no longer so: {t}"));
}
