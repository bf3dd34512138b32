use crate::words;

words! {
    /// Reason why a push makes no job, although it is one.
    pub enum SkipReason {
        /// BRANCHES does not name the branch.
        Branches = "branches",
        /// GIT_TAGS does not name the tag.
        GitTags = "git-tags",
        /// The commit's message asks for it, and SKIP_WORDS listens.
        SkipWords = "skip-words",
        /// The commit's message asks for it in Conveyor's words.
        DockerSkip = "docker-skip",
        /// The repository is a fork, and BUILD_FORKS leaves forks out.
        Fork = "fork",
    }
}

impl SkipReason {
    /// Returns the reason as a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Self::Branches => "BRANCHES does not name this branch",
            Self::GitTags => "GIT_TAGS does not name this tag",
            Self::SkipWords => "the commit's message has [skip ci] or [ci skip], and SKIP_WORDS is set",
            Self::Fork => "the repository is a fork, and BUILD_FORKS=0 leaves forks out",
            Self::DockerSkip => "the commit's message has [docker skip]",
        }
    }
}

/// Returns true if a commit's message has `[skip ci]` or `[ci skip]`, in any case.
pub fn has_skip_words(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["[skip ci]", "[ci skip]"].iter().any(|words| message.contains(words))
}

/// Returns true if a commit's message has `[docker skip]`, by which Conveyor builds no push of the commit.
pub fn has_docker_skip(message: &str) -> bool {
    message.contains("[docker skip]")
}

/// Returns true if a commit's message has `[docker nocache]`, by which Conveyor builds the commit without its cache.
pub fn has_docker_nocache(message: &str) -> bool {
    message.contains("[docker nocache]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_stand_anywhere_in_a_message() {
        for message in ["[skip ci]", "Release 1.2.3 [CI skip]", "Typo\n\nBody\n[Skip CI]\n"] {
            assert!(has_skip_words(message), "{message}");
        }
        for message in ["", "skip ci", "[skip  ci]", "[skip cicd]"] {
            assert!(!has_skip_words(message), "{message}");
        }
    }
}
