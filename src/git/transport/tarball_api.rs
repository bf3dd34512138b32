use std::fmt;

use reqwest::Url;
use zeroize::Zeroizing;

/// The API that gives tarballs, with what we take of them.
#[derive(Clone)]
pub struct TarballApi {
    /// GITHUB_API
    pub url: Url,
    /// GITHUB_TOKEN. Only the API's own server gets it.
    pub token: Option<Zeroizing<String>>,
    pub limits: TarballLimits,
}

impl fmt::Debug for TarballApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarballApi").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}

/// The most that a tarball may have.
#[derive(Debug, Clone, Copy)]
pub struct TarballLimits {
    /// Number of files, folders and links.
    pub entries: u64,
    /// Bytes of all files together.
    pub bytes: u64,
}
