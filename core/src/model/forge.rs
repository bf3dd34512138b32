use crate::words;

words! {
    /// Program that serves repositories and reports pushes to them by webhooks.
    pub enum Forge {
        GitHub = "github",
        Gitea = "gitea",
        Forgejo = "forgejo",
        Gogs = "gogs",
        /// Bitbucket Cloud and Bitbucket Data Center.
        Bitbucket = "bitbucket",
        GitLab = "gitlab",
        Gitee = "gitee",
    }
}

impl Forge {
    /// Returns the name as its makers write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::GitHub => "GitHub",
            Self::Gitea => "Gitea",
            Self::Forgejo => "Forgejo",
            Self::Gogs => "Gogs",
            Self::Bitbucket => "Bitbucket",
            Self::GitLab => "GitLab",
            Self::Gitee => "Gitee",
        }
    }
}
