use super::Snapshot;
use crate::git::tree::INLINE;
use crate::git::{Entry, EntryKind, Git, MemoryShare, Oid};

impl Git {
    /// Makes a snapshot of one file, which came with a job's request, in the folders of its path. `id` is the id that Git
    /// gives the content.
    ///
    /// The file's time is 0. The id is the name of the generation, so an engine never takes the file that it has for
    /// another one of the same size and time.
    pub fn snapshot_of_file(&self, path: &str, content: &str, id: Oid) -> Snapshot {
        let entry = |path: &str, kind, size| Entry {
            path: path.into(),
            kind,
            oid: id,
            size,
            mtime: 0,
            origin: INLINE,
            lfs: false,
        };
        let folders = path.match_indices('/').map(|(end, _)| entry(&path[..end], EntryKind::Dir, 0));
        let file = entry(path, EntryKind::File, content.len() as u64);
        Snapshot {
            commit: id,
            head: id,
            entries: folders.chain([file]).collect(),
            generation: id.to_string(),
            mirrors: Vec::new(),
            objects: self.lfs.store.clone(),
            git_dir: None,
            inline: content.as_bytes().to_vec().into(),
            config: self.config.clone(),
            _memory: MemoryShare::default(),
        }
    }
}
