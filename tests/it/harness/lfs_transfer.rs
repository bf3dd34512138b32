use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The objects and the memory of `git-lfs-transfer.py`, which runs at a [`super::GitHost`].
pub struct LfsTransfer {
    pub(super) folder: PathBuf,
}

impl LfsTransfer {
    /// Puts an object there; its pointer.
    pub fn put(&self, content: &[u8]) -> String {
        let oid = hex::encode(Sha256::digest(content));
        std::fs::write(self.folder.join("objects").join(&oid), content).unwrap();
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n", content.len())
    }

    pub fn has(&self, content: &[u8]) -> bool {
        self.folder.join("objects").join(hex::encode(Sha256::digest(content))).exists()
    }

    /// Sets the fault from now on: a word that the program knows, or an empty text for none.
    pub fn fault(&self, fault: &str) {
        std::fs::write(self.folder.join("fault"), fault).unwrap();
    }

    /// Returns the requests since the last call.
    pub fn log(&self) -> Vec<String> {
        let file = self.folder.join("log");
        let log = std::fs::read_to_string(&file).unwrap_or_default();
        let _ = std::fs::remove_file(file);
        log.lines().map(str::to_owned).collect()
    }
}
