use zeroize::Zeroizing;

use crate::words;

words! {
    /// Rights of a token. Each role includes those before it.
    pub enum Role {
        /// May see jobs and logs.
        Read = "read",
        /// May create and cancel jobs.
        Build = "build",
        /// May do everything.
        Admin = "admin",
    }
}

/// A bearer token and its rights.
#[derive(Clone)]
pub struct ApiToken {
    pub name: String,
    pub role: Role,
    pub token: Zeroizing<String>,
}

/// The user and the password of Conveyor's clients (BASIC_AUTH).
#[derive(Clone)]
pub struct BasicLogin {
    pub user: String,
    pub password: Zeroizing<String>,
}
