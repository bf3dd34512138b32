use std::fmt;

use reqwest::Url;
use zeroize::Zeroizing;

/// The API that gives tarballs.
#[derive(Clone)]
pub struct TarballApi {
    /// GITHUB_API
    pub url: Url,
    /// GITHUB_TOKEN. Only the API's own server gets it.
    pub token: Option<Zeroizing<String>>,
}

impl fmt::Debug for TarballApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TarballApi").field("url", &self.url.as_str()).finish_non_exhaustive()
    }
}
