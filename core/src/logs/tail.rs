use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::memory::MemoryPool;

/// Number of bytes that are read at once.
const PIECE: usize = 64 * 1024;
/// Sizes of the end of a log that is kept for its followers: bytes, and pieces of them.
const KEPT: (u64, usize) = (4 * PIECE as u64, 256);

/// The end of a log that is followed, read once for all its followers. A follower that is farther behind reads by itself.
/// Without memory for a piece, each follower reads by itself.
#[derive(Default)]
pub(super) struct Tail {
    /// Memory for the ends of all logs.
    memory: MemoryPool,
    /// Pieces, one behind the other, each with its position.
    pieces: VecDeque<(u64, Bytes)>,
    /// Position after the last piece.
    end: u64,
    /// The number of writes after which there was nothing behind `end`.
    complete_at: Option<u64>,
    file: Option<Arc<File>>,
}

impl Tail {
    pub fn new(memory: MemoryPool) -> Self {
        Self { memory, ..Self::default() }
    }

    /// Returns the bytes at a position that are in memory, or reads those behind the last piece. They are empty if there are
    /// none yet. Returns `None` for a position before the first piece, and without memory. `writes` counts the writes so far.
    pub async fn next(&mut self, path: &Path, offset: u64, writes: u64) -> io::Result<Option<Bytes>> {
        if let Some((start, bytes)) = self.pieces.iter().rev().find(|(start, _)| *start <= offset)
            && offset < self.end
        {
            let behind = usize::try_from(offset - start).unwrap_or(usize::MAX);
            return Ok(Some(bytes.slice(behind.min(bytes.len())..)));
        }
        if offset < self.end {
            return Ok(None);
        }
        if offset == self.end && self.complete_at == Some(writes) {
            return Ok(Some(Bytes::new()));
        }
        let Some(claim) = self.memory.try_claim(PIECE as u64) else {
            (self.file, self.complete_at) = (None, None);
            self.pieces.clear();
            return Ok(None);
        };
        let (file, bytes) = read_at(path, self.file.clone(), offset, PIECE).await?;
        let bytes = if bytes.is_empty() { bytes } else { claim.hold(bytes) };
        self.file = file;
        self.complete_at = (bytes.len() < PIECE).then_some(writes);
        if offset > self.end {
            self.pieces.clear();
        }
        self.end = offset + bytes.len() as u64;
        if !bytes.is_empty() {
            self.pieces.push_back((offset, bytes.clone()));
        }
        while self.pieces.len() > KEPT.1 || self.pieces.front().is_some_and(|(start, _)| self.end - start > KEPT.0) {
            self.pieces.pop_front();
        }
        Ok(Some(bytes))
    }
}

/// Reads at most `size` bytes of the file, and at most 64 KiB. Returns the file, which is opened if it is not open; it is
/// `None`, and there are no bytes, if it does not exist.
pub(super) async fn read_at(
    path: &Path,
    file: Option<Arc<File>>,
    offset: u64,
    size: usize,
) -> io::Result<(Option<Arc<File>>, Bytes)> {
    let path = path.to_owned();
    let read = move || -> io::Result<(Arc<File>, Bytes)> {
        let file = file.map_or_else(|| File::open(path).map(Arc::new), Ok)?;
        let mut bytes = vec![0; size.min(PIECE)];
        let n = file.read_at(&mut bytes, offset)?;
        Ok((file, Bytes::copy_from_slice(&bytes[..n])))
    };
    match tokio::task::spawn_blocking(read).await? {
        Ok((file, bytes)) => Ok((Some(file), bytes)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok((None, Bytes::new())),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_piece_is_read_once_and_old_pieces_go() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut tail = Tail::default();
        assert_eq!(tail.next(&path, 0, 0).await.unwrap(), Some(Bytes::new()));
        std::fs::write(&path, "one").unwrap();
        // No write was counted, so the file is not read.
        assert_eq!(tail.next(&path, 0, 0).await.unwrap(), Some(Bytes::new()));
        assert_eq!(tail.next(&path, 0, 1).await.unwrap().unwrap(), "one");
        std::fs::write(&path, "oneTWO").unwrap();
        assert_eq!(tail.next(&path, 3, 2).await.unwrap().unwrap(), "TWO");
        std::fs::write(&path, "").unwrap();
        for (offset, text) in [(0, "one"), (1, "ne"), (3, "TWO"), (5, "O"), (6, "")] {
            assert_eq!(tail.next(&path, offset, 2).await.unwrap().unwrap(), text, "{offset}");
        }
        std::fs::write(&path, vec![b'x'; 10 * PIECE]).unwrap();
        let mut offset = 6;
        while offset < 9 * PIECE as u64 {
            offset += tail.next(&path, offset, 3).await.unwrap().unwrap().len() as u64;
        }
        assert_eq!(tail.next(&path, 0, 3).await.unwrap(), None);
        assert!(tail.pieces.len() <= 5 && tail.next(&path, offset - 1, 3).await.unwrap().unwrap().len() == 1);
    }
}
