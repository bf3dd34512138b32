//! Adds host keys to the file that the daemon reads.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::assemble::git::added_hosts;
use crate::git::{HostKey, SshHost, scan_host_keys};
use crate::settings::Settings;

/// Returns the file to which host keys are added: KNOWN_HOSTS, else `DATA_DIR/known_hosts`, which the daemon reads beside
/// the system's file or the shipped one.
pub fn file(settings: &Settings) -> PathBuf {
    settings.known_hosts.clone().or_else(|| added_hosts(settings)).unwrap_or_default()
}

/// Asks a server, `HOST` or `HOST:PORT`, for its host keys.
pub async fn scan(host: &str) -> anyhow::Result<Vec<HostKey>> {
    let host = SshHost::parse(host).map_err(anyhow::Error::msg)?;
    Ok(scan_host_keys(&host).await?)
}

/// Adds the keys that the file does not have, and returns their number. A running daemon reads the file at its next
/// connection.
pub fn add(path: &Path, keys: &[HostKey]) -> anyhow::Result<usize> {
    let known = match fs::read_to_string(path) {
        Ok(known) => known,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let is_new = |key: &&HostKey| !known.lines().any(|line| line.trim() == key.line);
    let new: Vec<_> = keys.iter().filter(is_new).map(|key| format!("{}\n", key.line)).collect();
    if new.is_empty() {
        return Ok(0);
    }
    let line_end = if known.is_empty() || known.ends_with('\n') { "" } else { "\n" };
    append(path, &format!("{line_end}{}", new.concat())).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(new.len())
}

/// Appends to the file, and makes it and its folders: before the daemon's first start there is no data folder.
fn append(path: &Path, text: &str) -> std::io::Result<()> {
    let existing = path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
    let owner = fs::metadata(existing)?;
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let mut file = OpenOptions::new().append(true).create(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    // The folder's owner gets what root makes, because the service must be able to add to it.
    if rustix::process::geteuid().is_root() {
        for made in path.ancestors().take_while(|made| *made != existing) {
            chown(made, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_host_is_added_before_there_is_a_data_folder() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("lib/image-factory/known_hosts");
        let key =
            |line: &str| HostKey { line: line.into(), kind: "ssh-ed25519".into(), fingerprint: "SHA256:x".into() };
        assert_eq!(add(&file, &[key("a ssh-ed25519 A")]).unwrap(), 1);
        assert_eq!(add(&file, &[key("a ssh-ed25519 A"), key("b ssh-ed25519 B")]).unwrap(), 1);
        assert_eq!(fs::read_to_string(&file).unwrap(), "a ssh-ed25519 A\nb ssh-ed25519 B\n");
        assert_eq!(fs::metadata(file.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
