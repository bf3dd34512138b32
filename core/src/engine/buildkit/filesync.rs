//! The call `moby.filesync.v1.FileSync/DiffCopy`: the engine receives every entry of the tree, compares them with the
//! files that it has, and requests the contents of those that differ.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use hyper::HeaderMap;
use hyper::body::{Frame, Incoming};
use tokio::sync::mpsc;

use super::grpc::{self, GrpcMessages, GrpcStatus};
use super::packet::{GO_DIR, GO_SYMLINK, Packet, PacketType, Stat};
use crate::engine::context::filter::{ChoiceError, PathFilter, choose};
use crate::engine::context::follow_paths::SymlinkTargets;
use crate::engine::context::tree::Tree;
use crate::git::{Blobs, Entry, EntryKind, GitError, PathEnd};

/// Size at which the buffer of an answer is sent. A stat takes about 60 bytes.
const BUFFER: usize = 64 << 10;

/// One call, which sends the files of a tree.
pub(super) struct DiffCopy<'a> {
    pub tree: &'a Arc<Tree>,
}

impl DiffCopy<'_> {
    /// Serves one call. The frames of the answer go to `out`, whose end is the end of the answer.
    pub(super) async fn serve(&self, headers: HeaderMap, body: Incoming, out: mpsc::Sender<Frame<Bytes>>) {
        let result = self.copy(&headers, GrpcMessages::new(body), &out).await;
        // The send fails if the engine has gone.
        let _ = out.send(grpc::end(result)).await;
    }

    async fn copy(
        &self,
        headers: &HeaderMap,
        mut messages: GrpcMessages,
        out: &mpsc::Sender<Frame<Bytes>>,
    ) -> Result<(), GrpcStatus> {
        let _call = self.tree.note_call();
        let name = headers.get("dir-name").map_or(&b""[..], |name| name.as_bytes());
        if name != b"context" && name != b"dockerfile" {
            return Err(GrpcStatus::not_found(format!("no access allowed to dir {:?}", String::from_utf8_lossy(name))));
        }
        let links = self.tree.links().await.map_err(|e| self.failed(e))?;
        // The Dockerfile is named by its path in the repository, even if the context is a folder.
        let of: fn(&Tree) -> &[Entry] = if name == b"context" { Tree::context } else { Tree::all };
        let entries = of(self.tree);
        let mut filter = filter(headers);
        self.leave_unfollowed(entries, &mut filter).await.map_err(|e| self.failed(e))?;
        if name == b"context" {
            self.tree.note_excludes(&filter.excludes);
        }
        let follow = filter.follow.clone();
        let chosen = choose(self.tree, of, filter).await.map_err(|error| match error {
            ChoiceError::Git(error) => self.failed(error),
            ChoiceError::Pattern(error) => GrpcStatus::unknown(self.tree.refuse(&error).message),
        })?;
        if name == b"context" {
            self.tree.note_follow_paths(&follow, chosen.iter().map(|&i| &entries[i as usize]));
        }

        // The channel is unbounded, so that reading never waits for writing. The engine sends up to one request an
        // entry while it still receives stats, and with a bounded channel both sides would wait for ever.
        let (requests, mut queue) = mpsc::unbounded_channel();
        let read = async {
            while let Some(packet) = messages.next::<Packet>().await? {
                match packet.r#type() {
                    PacketType::Req => drop(requests.send(packet.id)),
                    PacketType::Fin => break,
                    PacketType::Err => return Err(GrpcStatus::unknown(String::from_utf8_lossy(&packet.data))),
                    PacketType::Stat | PacketType::Data => {
                        return Err(GrpcStatus::unknown("the engine sent a packet that only its client may send"));
                    }
                }
            }
            drop(requests);
            Ok(())
        };
        let write = async {
            let mut writer = PacketWriter { out, buffer: BytesMut::with_capacity(BUFFER) };
            self.write_stats(entries, &chosen, links, &mut writer).await?;
            let mut blobs = None;
            while let Some(id) = queue.recv().await {
                let entry = chosen.get(id as usize).map(|&i| &entries[i as usize]);
                let Some(entry) = entry.filter(|e| matches!(e.kind, EntryKind::File | EntryKind::Exec)) else {
                    return Err(GrpcStatus::unknown(format!("the engine asked for entry {id}, which is no file")));
                };
                self.write_file(id, entry, &mut blobs, &mut writer).await?;
                if queue.is_empty() {
                    writer.flush().await?;
                }
            }
            writer.put(PacketType::Fin, 0, Bytes::new()).await?;
            writer.flush().await
        };
        // An error of either ends the other.
        tokio::try_join!(read, write)?;
        if name == b"context" {
            self.tree.note_context_sent();
        }
        Ok(())
    }

    async fn write_stats(
        &self,
        entries: &[Entry],
        chosen: &[u32],
        links: &SymlinkTargets,
        writer: &mut PacketWriter<'_>,
    ) -> Result<(), GrpcStatus> {
        let mut packet = Packet { stat: Some(Stat::default()), ..Packet::default() };
        for &index in chosen {
            let entry = &entries[index as usize];
            let stat = packet.stat.get_or_insert_default();
            stat.path.clone_from(&entry.path);
            stat.linkname.clear();
            (stat.mode, stat.size) = match entry.kind {
                EntryKind::File => (0o644, entry.size as i64),
                EntryKind::Exec => (0o755, entry.size as i64),
                // A submodule that was not fetched is sent as an empty directory.
                EntryKind::Dir | EntryKind::Gitlink => (GO_DIR | 0o755, 0),
                EntryKind::Symlink => {
                    stat.linkname.extend(links.get(&entry.oid).into_iter().flatten());
                    (GO_SYMLINK | 0o777, stat.linkname.len() as i64)
                }
            };
            stat.mod_time = entry.mtime;
            grpc::put(&mut writer.buffer, &packet);
            if writer.buffer.len() >= BUFFER {
                writer.flush().await?;
            }
        }
        self.tree.count_stats(chosen.len());
        writer.put(PacketType::Stat, 0, Bytes::new()).await?;
        writer.flush().await
    }

    async fn write_file(
        &self,
        id: u32,
        entry: &Entry,
        blobs: &mut Option<Blobs>,
        writer: &mut PacketWriter<'_>,
    ) -> Result<(), GrpcStatus> {
        self.tree.count_request();
        let blobs = self.tree.open_blobs(blobs).map_err(|e| self.failed(e))?;
        let mut blob = blobs.open(entry).await.map_err(|e| self.failed(e))?;
        while let Some(chunk) = blob.chunk().await.map_err(|e| self.failed(e))? {
            self.tree.count_bytes(chunk.len());
            writer.put(PacketType::Data, id, chunk.into()).await?;
        }
        // An empty packet ends each file, even an empty one.
        writer.put(PacketType::Data, id, Bytes::new()).await
    }

    /// Keeps the engine from following a `.dockerignore` that leads out of the tree. The link itself is sent. The
    /// engine would take the root of the tree for the root of the file system, and read another file.
    async fn leave_unfollowed(&self, entries: &[Entry], filter: &mut PathFilter) -> Result<(), GitError> {
        for path in std::mem::take(&mut filter.follow) {
            let is_lost = path.ends_with(b".dockerignore")
                && matches!(self.tree.find_among(entries, &path).await?, PathEnd::BrokenLink(_));
            let list = if is_lost { &mut filter.includes } else { &mut filter.follow };
            list.push(path);
        }
        Ok(())
    }

    fn failed(&self, error: GitError) -> GrpcStatus {
        GrpcStatus::unknown(self.tree.fail(&error).message)
    }
}

struct PacketWriter<'a> {
    out: &'a mpsc::Sender<Frame<Bytes>>,
    buffer: BytesMut,
}

impl PacketWriter<'_> {
    async fn put(&mut self, r#type: PacketType, id: u32, data: Bytes) -> Result<(), GrpcStatus> {
        grpc::put(&mut self.buffer, &Packet { r#type: r#type.into(), stat: None, id, data });
        if self.buffer.len() >= BUFFER { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), GrpcStatus> {
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(BUFFER));
        self.out.send(Frame::data(full.freeze())).await.map_err(|_| GrpcStatus::unavailable("the engine has gone"))
    }
}

/// Reads the patterns, which travel as headers. Their values are query-escaped if the header `<key>-encoded` says so.
fn filter(headers: &HeaderMap) -> PathFilter {
    let list = |key: &str| {
        let encoded = headers.get(format!("{key}-encoded")).is_some_and(|v| matches!(v.as_bytes(), b"1" | b"true"));
        let values = headers.get_all(key).iter().map(|value| value.as_bytes());
        values.map(|value| if encoded { query_unescape(value) } else { value.to_vec() }).collect()
    };
    PathFilter { includes: list("include-patterns"), excludes: list("exclude-patterns"), follow: list("followpaths") }
}

fn query_unescape(text: &[u8]) -> Vec<u8> {
    let text: Vec<u8> = text.iter().map(|&b| if b == b'+' { b' ' } else { b }).collect();
    percent_encoding::percent_decode(&text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_read_from_headers() {
        let mut headers = HeaderMap::new();
        for value in ["a", "b%2F+c", "%zz%"] {
            headers.append("exclude-patterns", value.parse().unwrap());
        }
        headers.append("followpaths", "x%20y".parse().unwrap());
        let read = |list: Vec<Vec<u8>>| list.into_iter().map(|p| String::from_utf8(p).unwrap()).collect::<Vec<_>>();
        assert_eq!(read(filter(&headers).excludes), ["a", "b%2F+c", "%zz%"]);
        headers.append("exclude-patterns-encoded", "1".parse().unwrap());
        assert_eq!(read(filter(&headers).excludes), ["a", "b/ c", "%zz%"]);
        assert_eq!(read(filter(&headers).follow), ["x%20y"]);
    }

    proptest! {
        #[test]
        fn an_escaped_value_is_read(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
            let escaped: String = form_urlencoded::byte_serialize(&bytes).collect();
            prop_assert_eq!(query_unescape(escaped.as_bytes()), bytes);
        }
    }
}
