//! Git LFS: the repository has a pointer in the place of a large file, and a separate server has the file
//! (`docs/spec.md` and `docs/api` of github.com/git-lfs/git-lfs).
//!
//! Exactly those files are replaced that a checkout with git-lfs would replace: a file that is a pointer *and* has the
//! attribute `filter=lfs` in the tree's own `.gitattributes`. `.lfsconfig` is ignored, because it would choose the
//! server.

mod batch;
pub(super) mod http;
mod incoming;
mod method;
mod pkt;
mod pointer;
mod server;
mod shell;
mod store;
mod transfer;

#[cfg(fuzzing)]
pub(super) use pointer::parse as parse_pointer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use super::errors::RepoError;
use super::mirror::access;
use super::snapshot::part::SnapshotPart;
use super::tree::blobs::ObjectReader;
use super::{Entry, Git, GitError, Oid};
use crate::model::LogSink;
use http::LfsClients;
use method::KnownMethods;
pub(super) use store::{LfsStore, StoredObject};

/// Number of objects that are fetched at once.
const AT_ONCE: usize = 4;
/// Number of objects in one request, as in git-lfs.
const BATCH: usize = 100;

/// Returns true if the file's size is that of a pointer. Most files are larger and need not be read.
pub(super) fn may_be_pointer(entry: &Entry) -> bool {
    pointer::SIZES.contains(&entry.size)
}

/// The objects of one data folder, and the means to fetch more.
#[derive(Debug)]
pub(super) struct Lfs {
    pub store: Arc<LfsStore>,
    pub(in crate::git) http: LfsClients,
    methods: KnownMethods,
}

/// An object that a tree needs.
#[derive(Debug, Clone)]
struct WantedObject {
    oid: Oid,
    size: u64,
    /// One of the paths that need the object, for messages.
    path: String,
}

impl fmt::Display for WantedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the LFS object {} ({})", self.oid, self.path)
    }
}

impl Lfs {
    /// Opens the store, and removes what a former process left incomplete.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self {
            store: Arc::new(LfsStore::open(dir)?),
            http: LfsClients::default(),
            methods: KnownMethods::default(),
        })
    }
}

impl Git {
    /// Replaces the pointers among a repository's entries at these positions by their files, and fetches missing files
    /// into the store.
    pub(super) async fn fetch_lfs(
        &self,
        part: &mut SnapshotPart,
        filtered: &[usize],
        reader: &mut ObjectReader,
        log: &dyn LogSink,
    ) -> Result<(), RepoError> {
        let mut wanted = BTreeMap::new();
        for &at in filtered {
            let entry = &mut part.entries[at];
            let path = String::from_utf8_lossy(&entry.path).escape_debug().to_string();
            let Some(pointer) = pointer::parse(&reader.read(&entry.oid).await?) else { continue };
            let pointer::Pointer { oid, size } =
                pointer.map_err(|why| GitError::refused(format!("the LFS pointer \"{path}\" {why}")))?;
            (entry.oid, entry.size, entry.lfs) = (oid, size, true);
            wanted.entry((oid, size)).or_insert(WantedObject { oid, size, path });
        }
        // An empty file has no object, and git-lfs does not ask for one.
        let mut missing: Vec<_> = wanted.into_values().filter(|object| object.size > 0).collect();
        let (source, remote) = (&part.mirror.source, &part.remote);
        let (store, access) = (&self.lfs.store, access(source, remote));
        missing.retain(|object| !store.is_granted(&object.oid, &access) || !store.has(&object.oid, object.size));
        if missing.is_empty() {
            return Ok(());
        }
        let (count, bytes) = (missing.len(), missing.iter().map(|object| object.size).sum::<u64>());
        log.write(format!("Fetching {count} LFS files of {}, {bytes} bytes\n", remote.url).as_bytes());
        Ok(self.fetch_objects(source, remote, &missing, &access, log).await?)
    }
}
