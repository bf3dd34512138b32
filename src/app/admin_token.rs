use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use zeroize::Zeroizing;

use crate::durable::replace_file;

/// Returns the path of the admin token of the daemon on `data_dir`.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("admin-token")
}

/// Returns the token that the first start makes. It closes the API to other local users, and users who may read the data
/// folder need no set-up.
pub fn read_or_create(data_dir: &Path) -> anyhow::Result<Zeroizing<String>> {
    let path = path(data_dir);
    match fs::read_to_string(&path) {
        Ok(text) if text.trim().len() >= 16 => return Ok(Zeroizing::new(text.trim().to_owned())),
        Ok(_) => anyhow::bail!(
            "{} holds no token of 16 characters or more: remove it, and the next start makes one",
            path.display()
        ),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
    }
    let token = random()?;
    replace_file(&path, 0o600, token.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(token)
}

/// Returns a token that nobody can guess, of 64 hexadecimal digits.
///
/// # Errors
/// The kernel has no random bytes.
pub fn random() -> anyhow::Result<Zeroizing<String>> {
    let mut random = Zeroizing::new([0u8; 32]);
    rustix::rand::getrandom(&mut *random, rustix::rand::GetRandomFlags::empty()).context("no random bytes")?;
    Ok(Zeroizing::new(hex::encode(random.as_slice())))
}
