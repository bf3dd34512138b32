use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The manifest that a tag names in a registry, of an image or of an index (OCI image specification, "Image Manifest").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `sha256:…` of its bytes.
    pub digest: String,
    /// `sha256:…` of the image's configuration; `None` for an index.
    pub config: Option<String>,
}

impl Manifest {
    pub(super) fn read(bytes: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct ImageManifest {
            config: Descriptor,
        }
        #[derive(Deserialize)]
        struct Descriptor {
            digest: String,
        }
        let image = serde_json::from_slice::<ImageManifest>(bytes).ok();
        let digest = format!("sha256:{}", hex::encode(Sha256::digest(bytes)));
        Self { digest, config: image.map(|image| image.config.digest) }
    }

    /// Returns true if this is the image with an id that an engine gave: the digest of the configuration, or of the manifest
    /// itself if the engine keeps its images in containerd.
    pub fn is_image(&self, id: &str) -> bool {
        self.digest == id || self.config.as_deref() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_either_id() {
        let manifest = Manifest::read(br#"{"schemaVersion":2,"config":{"digest":"sha256:ab","size":2},"layers":[]}"#);
        assert!(
            manifest.is_image("sha256:ab") && manifest.is_image(&manifest.digest) && !manifest.is_image("sha256:cd")
        );
        assert_eq!(Manifest::read(br#"{"manifests":[]}"#).config, None);
    }
}
