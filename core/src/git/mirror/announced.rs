//! Counts the branches and tags that a server announces while Git fetches, which is before Git asks for any object.
//!
//! Git writes what it reads from the server into a pipe of ours, the objects left out (GIT_TRACE_PACKET, git(1)), so the
//! count takes no further request. The lines are made for people: `… packet: fetch< ID NAME`. A Git with other lines
//! would announce nothing here, and the refs are counted once more after the fetch.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// Variable by which Git is told where the pipe is.
pub(super) const VARIABLE: &str = "GIT_TRACE_PACKET";
/// Longest line that is looked at. The path of a file is shorter, and so is the name of a ref.
const LINE: usize = 8192;

/// The pipe of one fetch.
#[derive(Debug)]
pub(super) struct AnnouncedRefs {
    dir: TempDir,
    pipe: pipe::Receiver,
    count: RefCount,
}

impl AnnouncedRefs {
    /// Makes the pipe in a folder of its own below `run_dir`.
    pub fn open(run_dir: &Path) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("refs-").tempdir_in(run_dir)?;
        mknodat(CWD, path_in(&dir), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // A pipe that is open for writing, too, has no end when one of Git's processes closes it.
        let pipe = pipe::OpenOptions::new().read_write(true).open_receiver(path_in(&dir))?;
        Ok(Self { dir, pipe, count: RefCount::default() })
    }

    pub fn path(&self) -> PathBuf {
        path_in(&self.dir)
    }

    /// Returns once the server has announced more refs than `most`; never otherwise.
    pub async fn exceed(&mut self, most: u64) {
        let mut bytes = Vec::with_capacity(64 << 10);
        while self.count.most() <= most {
            bytes.clear();
            if self.pipe.read_buf(&mut bytes).await.is_err() {
                return std::future::pending().await;
            }
            self.count.take(&bytes);
        }
    }
}

fn path_in(dir: &TempDir) -> PathBuf {
    dir.path().join("packets")
}

/// The refs that each process of Git has read so far. With HTTP two of them may read the same.
#[derive(Debug, Default)]
struct RefCount {
    of: HashMap<Vec<u8>, u64>,
    rest: Vec<u8>,
}

impl RefCount {
    fn most(&self) -> u64 {
        self.of.values().copied().max().unwrap_or_default()
    }

    fn take(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            if self.rest.len() <= LINE {
                self.rest.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                if let Some(reader) = reader_of_ref(&self.rest) {
                    *self.of.entry(reader.to_vec()).or_default() += 1;
                }
                self.rest.clear();
            }
        }
    }
}

/// Returns the process that has read a branch or a tag, if the line says that it has.
fn reader_of_ref(line: &[u8]) -> Option<&[u8]> {
    let packet = b" packet: ";
    let at = line.windows(packet.len()).position(|window| window == packet)?;
    let words: Vec<_> = line[at + packet.len()..].trim_ascii().splitn(3, |&byte| byte == b' ').collect();
    let [reader, id, name] = words[..] else { return None };
    let reader = reader.strip_suffix(b"<")?;
    let is_id = matches!(id.len(), 40 | 64) && id.iter().all(u8::is_ascii_hexdigit);
    let is_kept = name.starts_with(b"refs/heads/") || name.starts_with(b"refs/tags/");
    // Protocol 0 names the object of an annotated tag in a line of its own.
    (is_id && is_kept && !name.ends_with(b"^{}")).then_some(reader)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn branches_and_tags_are_counted_once() {
        let id = "0ec32672a4a8454e47ef0ef7772ff423c2f79656";
        let line = |packet: &str| format!("11:01:46.854 pkt-line.c:86           packet:        {packet}\n");
        let text: String = [
            format!("fetch< {id} HEAD\\0multi_ack thin-pack"),
            format!("fetch< {id} refs/heads/a"),
            format!("git< {id} refs/heads/a"),
            format!("fetch< {id} refs/tags/t"),
            format!("fetch< {id} refs/tags/t^{{}}"),
            format!("fetch< {id} refs/tags/u peeled:{id}"),
            format!("fetch< {id} refs/pull/1/head"),
            format!("fetch> want {id}"),
            format!("upload-pack> {id} refs/heads/a"),
            "fetch< 0000".into(),
            format!("sideband< \\2remote: {id} refs/heads/x"),
        ]
        .iter()
        .map(|packet| line(packet))
        .collect();
        for size in [1, 7, 10_000] {
            let mut count = RefCount::default();
            count.take(&vec![b'x'; 3 * LINE]);
            assert!(count.rest.len() < 4 * LINE);
            count.take(b"\n");
            text.as_bytes().chunks(size).for_each(|piece| count.take(piece));
            assert_eq!(count.most(), 3);
        }
    }

    #[tokio::test]
    async fn the_pipe_tells_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut refs = AnnouncedRefs::open(dir.path()).unwrap();
        let write = |count: usize| {
            let line = format!("x packet: fetch< {} refs/heads/a\n", "1".repeat(40));
            fs::write(refs.path(), line.repeat(count)).unwrap();
        };
        write(3);
        write(2);
        let waits = std::time::Duration::from_secs(20);
        tokio::time::timeout(waits, refs.exceed(4)).await.unwrap();
        assert!(refs.exceed(5).now_or_never().is_none());
    }
}
