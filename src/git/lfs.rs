//! Git LFS: a repository has a pointer in the place of a large file, a server of its own has the file
//! (`docs/spec.md` and `docs/api` of github.com/git-lfs/git-lfs).
//!
//! What a checkout with git-lfs would replace is replaced here, and nothing else: a file that is a pointer *and* has the
//! attribute `filter=lfs` in the tree's own `.gitattributes`. `.lfsconfig` is ignored, as it would choose the server.

mod attributes;
mod batch;
mod http;
mod incoming;
mod pkt;
mod pointer;
mod server;
mod shell;
mod store;
mod transfer;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::{fmt, io};

use super::blobs::Reader;
use super::errors::Trouble;
use super::mirror::access;
use super::snapshot::Part;
use super::{Entry, Git, GitError, Kind, Oid};
use crate::model::LogSink;
use http::Http;
use server::Ways;
pub(super) use store::{Object, Store};

/// How many objects are fetched at once.
const AT_ONCE: usize = 4;
/// How many are asked for in one request, as git-lfs does.
const BATCH: usize = 100;

/// The objects of one data folder, and the ways to get more.
#[derive(Debug)]
pub(super) struct Lfs {
    pub store: Arc<Store>,
    http: Http,
    ways: Ways,
}

/// An object that a tree needs.
#[derive(Debug, Clone)]
struct Wanted {
    oid: Oid,
    size: u64,
    /// One of the places that it is needed in, for messages.
    path: String,
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the LFS object {} ({})", self.oid, self.path)
    }
}

impl Lfs {
    /// Removes what a former process left half fetched.
    pub fn open(dir: &Path) -> io::Result<Self> {
        Ok(Self { store: Arc::new(Store::open(dir)?), http: Http::default(), ways: Ways::default() })
    }
}

impl Git {
    /// Replaces the pointers among a repository's entries by what they point to, which is then in the store.
    pub(super) async fn fetch_lfs(&self, part: &mut Part, log: &dyn LogSink) -> Result<(), Trouble> {
        let pointers = self.pointers(part).await?;
        let mut wanted = BTreeMap::new();
        for (at, pointer) in pointers {
            let entry = &mut part.entries[at];
            let path = String::from_utf8_lossy(&entry.path).escape_debug().to_string();
            (entry.oid, entry.size, entry.lfs) = (pointer.oid, pointer.size, true);
            wanted.entry((pointer.oid, pointer.size)).or_insert(Wanted { oid: pointer.oid, size: pointer.size, path });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let (source, remote) = (&part.mirror.source, &part.remote);
        let (store, access) = (&self.lfs.store, access(source, remote));
        let mut missing: Vec<_> = wanted.into_values().collect();
        missing.retain(|object| !store.is_granted(&object.oid, &access) || !store.has(&object.oid, object.size));
        if missing.is_empty() {
            return Ok(());
        }
        let (count, bytes) = (missing.len(), missing.iter().map(|object| object.size).sum::<u64>());
        log.write(format!("Fetching {count} LFS files of {}, {bytes} bytes\n", remote.url).as_bytes());
        Ok(self.fetch_objects(source, remote, &missing, &access, log).await?)
    }

    /// The pointers, by the positions of their entries. A tree without `.gitattributes` costs nothing, one without
    /// `filter=lfs` in them one `git cat-file`.
    async fn pointers(&self, part: &Part) -> Result<Vec<(usize, pointer::Pointer)>, Trouble> {
        let is_file = |entry: &&Entry| matches!(entry.kind, Kind::File | Kind::Exec);
        let files = || part.entries.iter().filter(is_file);
        let attributes: Vec<_> = files().filter(|entry| attributes::is_one(&entry.path)).collect();
        if attributes.is_empty() {
            return Ok(vec![]);
        }
        let mut reader = Reader::start(&self.config, &part.mirror)?;
        let mut is_used = false;
        for entry in &attributes {
            is_used = is_used || attributes::may_name_lfs(&reader.read(&entry.oid).await?);
        }
        if !is_used {
            return Ok(vec![]);
        }
        let small = |(_, entry): &(usize, &Entry)| is_file(entry) && pointer::SIZES.contains(&entry.size);
        let candidates: Vec<_> = part.entries.iter().enumerate().filter(small).collect();
        let paths: Vec<_> = candidates.iter().map(|(_, entry)| &entry.path[..]).collect();
        let filtered = attributes::filtered(&self.config, &part.mirror, &attributes, &paths).await?;
        let mut pointers = Vec::new();
        for ((at, entry), _) in candidates.into_iter().zip(filtered).filter(|(_, is_filtered)| *is_filtered) {
            if let Some(pointer) = pointer::parse(&reader.read(&entry.oid).await?) {
                let path = String::from_utf8_lossy(&entry.path);
                pointers
                    .push((at, pointer.map_err(|why| GitError::refused(format!("the LFS pointer {path:?} {why}")))?));
            }
        }
        Ok(pointers)
    }
}
