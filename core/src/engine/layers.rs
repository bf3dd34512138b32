//! Looks for files with ACLs or extended attributes in tar files, such as the layers of an image.
//!
//! dockerd's own store keeps `security.capability` alone when it writes a layer, so that nobody finds the others there.
//! Podman and containerd keep more.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::Method;
use tar::Archive;
use tokio::sync::mpsc::{Receiver, channel};

use super::api::connect::{invalid, no_body, request};
use super::api::engine::Engine;
use super::api::errors::EngineError;
use crate::model::is_attribute;

/// The part of a packed tar that is looked into, in bytes, because a small file may unpack to any number of them.
const UNPACKED: u64 = 4 << 30;

impl Engine {
    /// Returns up to `most` files of an image that have ACLs or extended attributes.
    ///
    /// # Errors
    /// The engine does not give the image.
    pub async fn files_with_attributes(&self, image: &str, most: usize) -> Result<Vec<String>, EngineError> {
        let request = request(Method::GET, &format!("/images/{image}/get")).body(no_body()).map_err(invalid)?;
        let mut reply = self.send(request).await?.accepted().await?;
        let (chunks, received) = channel(4);
        let found = tokio::task::spawn_blocking(move || in_layers(Chunks { received, chunk: Bytes::new() }, most));
        // A body that is cut off is a tar that is cut off: what was found until then counts.
        while let Some(Ok(frame)) = reply.response.frame().await {
            let Ok(chunk) = frame.into_data() else { continue };
            if chunks.send(chunk).await.is_err() {
                break;
            }
        }
        drop(chunks);
        Ok(found.await.unwrap_or_default())
    }
}

/// Returns up to `most` files with ACLs or extended attributes in the layers of an image that `docker save` wrote.
fn in_layers(image: impl Read, most: usize) -> Vec<String> {
    let mut found = Vec::new();
    let mut archive = Archive::new(image);
    for layer in archive.entries().into_iter().flatten() {
        // The rest of an image that is cut off cannot be read.
        let Ok(layer) = layer else { break };
        // A file that is no layer, such as the manifest, has no entries.
        let _ = files_with_attributes(layer, most, &mut found);
        if found.len() >= most {
            break;
        }
    }
    found
}

/// Adds files of a tar, which may be packed by gzip, that have ACLs or extended attributes, until there are `most`.
///
/// # Errors
/// The file is no tar, or damaged.
pub fn files_with_attributes(mut tar: impl Read, most: usize, found: &mut Vec<String>) -> io::Result<()> {
    let mut magic = [0; 2];
    tar.read_exact(&mut magic)?;
    let is_packed = magic == [0x1f, 0x8b];
    let whole = Read::chain(io::Cursor::new(magic), tar);
    let whole: Box<dyn Read + '_> =
        if is_packed { Box::new(MultiGzDecoder::new(whole).take(UNPACKED)) } else { Box::new(whole) };
    for entry in Archive::new(whole).entries()? {
        let mut entry = entry?;
        let mut has_attributes = false;
        for record in entry.pax_extensions()?.into_iter().flatten() {
            has_attributes |= record?.key().is_ok_and(is_attribute);
        }
        if has_attributes {
            found.push(String::from_utf8_lossy(&entry.path_bytes()).into_owned());
            if found.len() >= most {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Reads the chunks that another task sends.
struct Chunks {
    received: Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Chunks {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.received.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let len = self.chunk.len().min(out.len());
        self.chunk.copy_to_slice(&mut out[..len]);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar(records: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        tar.append_pax_extensions(records.iter().copied()).unwrap();
        let mut header = tar::Header::new_ustar();
        header.set_size(1);
        tar.append_data(&mut header, "bin/a", &b"x"[..]).unwrap();
        tar.into_inner().unwrap()
    }

    #[test]
    fn files_are_found_by_their_records() {
        for (key, expected) in [
            ("SCHILY.xattr.security.capability", &["bin/a"][..]),
            ("SCHILY.acl.access", &["bin/a"]),
            ("LIBARCHIVE.xattr.user.x", &["bin/a"]),
            ("mtime", &[]),
        ] {
            let mut found = Vec::new();
            files_with_attributes(&tar(&[(key, b"1")])[..], 5, &mut found).unwrap();
            assert_eq!(found, expected, "{key}");
        }
    }

    #[test]
    fn layers_are_tars_in_a_tar_and_other_files_are_none() {
        let mut image = tar::Builder::new(Vec::new());
        for (name, content) in
            [("manifest.json", b"[{}]".to_vec()), ("a/layer.tar", tar(&[("SCHILY.acl.access", b"1")]))]
        {
            let mut header = tar::Header::new_ustar();
            header.set_size(content.len() as u64);
            image.append_data(&mut header, name, &content[..]).unwrap();
        }
        assert_eq!(in_layers(&image.into_inner().unwrap()[..], 5), ["bin/a"]);
    }
}
