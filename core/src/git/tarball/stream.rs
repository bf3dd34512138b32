//! The commands of `git fast-import` (its manual, "Input Format") that make a commit.

use std::io::{self, Read};

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc::Sender;

/// Size of the pieces that go to Git, in bytes.
const PIECE: usize = 64 << 10;

/// A commit that is being written.
pub struct ImportStream {
    pieces: Sender<Bytes>,
    pending: BytesMut,
}

/// The reader of the commands is gone.
pub struct ImportStopped;

impl ImportStream {
    /// Begins a commit of this ref without a parent, made at this time in seconds since the epoch.
    pub fn begin(pieces: Sender<Bytes>, ref_name: &str, seconds: u64) -> Result<Self, ImportStopped> {
        let mut stream = Self { pieces, pending: BytesMut::with_capacity(PIECE) };
        let committer = "Image Factory <image-factory@localhost>";
        stream.write(format!("commit {ref_name}\ncommitter {committer} {seconds} +0000\ndata 0\n").as_bytes())?;
        Ok(stream)
    }

    /// Begins a file with this mode of Git and this many bytes, which follow by [`ImportStream::copy`] or
    /// [`ImportStream::write`].
    pub fn file(&mut self, mode: &str, path: &[u8], size: u64) -> Result<(), ImportStopped> {
        self.write(format!("\nM {mode} inline \"").as_bytes())?;
        for &b in path {
            match b {
                b'\n' => self.write(b"\\n")?,
                b'"' | b'\\' => self.write(&[b'\\', b])?,
                b => self.write(&[b])?,
            }
        }
        self.write(format!("\"\ndata {size}\n").as_bytes())
    }

    /// Copies a whole reader. Returns the number of its bytes.
    pub fn copy(&mut self, mut reader: impl Read) -> io::Result<Result<u64, ImportStopped>> {
        let (mut piece, mut copied) = (vec![0; PIECE], 0);
        loop {
            match reader.read(&mut piece) {
                Ok(0) => return Ok(Ok(copied)),
                Ok(len) => {
                    copied += len as u64;
                    if self.write(&piece[..len]).is_err() {
                        return Ok(Err(ImportStopped));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ImportStopped> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() < PIECE {
            return Ok(());
        }
        self.pieces.blocking_send(self.pending.split().freeze()).map_err(|_| ImportStopped)
    }

    /// Ends the commit, which Git takes only now.
    pub fn end(mut self) -> Result<(), ImportStopped> {
        self.pending.extend_from_slice(b"\ndone\n");
        self.pieces.blocking_send(self.pending.split().freeze()).map_err(|_| ImportStopped)
    }
}
