//! The packets of FileSync.

use bytes::Bytes;
use prost::Message;

/// A packet of fsutil's `types/wire.proto`. The generated type has `String`s, but paths and link targets need not be
/// UTF-8.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Packet {
    #[prost(enumeration = "PacketType", tag = "1")]
    pub r#type: i32,
    #[prost(message, optional, tag = "2")]
    pub stat: Option<Stat>,
    #[prost(uint32, tag = "3")]
    pub id: u32,
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum PacketType {
    Stat = 0,
    Req = 1,
    Data = 2,
    Fin = 3,
    Err = 4,
}

/// The metadata of an entry: `types/stat.proto` without the fields that are always zero here (uid, gid, devices,
/// xattrs).
#[derive(Clone, PartialEq, Message)]
pub(super) struct Stat {
    #[prost(bytes = "vec", tag = "1")]
    pub path: Vec<u8>,
    /// Bits of Go's `FileMode`.
    #[prost(uint32, tag = "2")]
    pub mode: u32,
    #[prost(int64, tag = "5")]
    pub size: i64,
    /// Nanoseconds since the epoch.
    #[prost(int64, tag = "6")]
    pub mod_time: i64,
    #[prost(bytes = "vec", tag = "7")]
    pub linkname: Vec<u8>,
}

pub(super) const GO_DIR: u32 = 1 << 31;
pub(super) const GO_SYMLINK: u32 = 1 << 27;

#[cfg(test)]
mod tests {
    use super::*;
    use bollard_buildkit_proto::fsutil::types;

    #[test]
    fn packets_match_the_published_protocol() {
        let ours = Packet {
            r#type: PacketType::Stat.into(),
            stat: Some(Stat { path: "a/b".into(), mode: 0o644, size: 3, mod_time: -5, linkname: "c".into() }),
            id: 7,
            data: Bytes::from_static(b"xyz"),
        };
        let theirs = types::Packet::decode(ours.encode_to_vec().as_slice()).unwrap();
        let stat = theirs.stat.as_ref().unwrap();
        assert_eq!((stat.path.as_str(), stat.mode, stat.size, stat.mod_time), ("a/b", 0o644, 3, -5));
        assert_eq!((stat.linkname.as_str(), theirs.id, theirs.data.as_slice()), ("c", 7, &b"xyz"[..]));
        assert_eq!(theirs.encode_to_vec(), ours.encode_to_vec());
        for (ours, theirs) in [(PacketType::Req, 1), (PacketType::Data, 2), (PacketType::Fin, 3), (PacketType::Err, 4)]
        {
            assert_eq!(i32::from(ours), theirs);
        }
    }
}
