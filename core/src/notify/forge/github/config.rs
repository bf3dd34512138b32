use reqwest::{Certificate, Url};
use zeroize::Zeroizing;

/// The credentials that set the statuses.
pub enum GitHubAccess {
    /// GITHUB_TOKEN
    Token(Zeroizing<String>),
    /// GITHUB_APP_ID, GITHUB_PRIVATE_KEY and GITHUB_INSTALLATION_ID
    App { id: String, private_key: Zeroizing<String>, installation: Option<String> },
}

pub struct GitHubConfig {
    /// GITHUB_API
    pub api: Url,
    /// BASE_URL without a `/` at its end, for the links to jobs.
    pub base_url: String,
    pub access: GitHubAccess,
    /// Authorities of the API's certificate beside the system's.
    pub authorities: Vec<Certificate>,
}

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GitHubError {
    #[error("GITHUB_API is an http:// address beyond this machine: use https, because a token goes by https alone")]
    InTheClear,
    #[error("GITHUB_TOKEN has a character that no token has: copy the token anew")]
    Token,
    #[error("GITHUB_APP_ID={0:?} is no App's id: it must be the number, or the client id, of the App's settings page")]
    AppId(String),
    #[error(
        "GITHUB_INSTALLATION_ID={0:?} is no installation's id: it must be the number at the end of its page's address"
    )]
    Installation(String),
    #[error("GITHUB_PRIVATE_KEY cannot be used: {0}; give the PEM file that GitHub made for the App")]
    Key(&'static str),
    #[error("no client for GITHUB_API can be made: {0}")]
    Client(#[from] reqwest::Error),
}
