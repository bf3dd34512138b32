use zeroize::Zeroizing;

/// What a token may do; each role may also do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// See jobs and logs.
    Read,
    /// Make and cancel jobs.
    Build,
    /// Everything.
    Admin,
}

/// A bearer token and what its holder may do.
#[derive(Clone)]
pub struct ApiToken {
    pub name: String,
    pub role: Role,
    pub token: Zeroizing<String>,
}
