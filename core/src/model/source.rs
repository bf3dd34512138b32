use serde::{Deserialize, Serialize};
use sha1::{Digest, Sha1};

use super::{CommitId, ImageRef, JobContext, RepoCase};

/// Source of the files that a job builds. The stored form is JSON: `{"dockerfile":"FROM …"}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobSource {
    /// A commit of the repository that the context names.
    #[default]
    Git,
    /// The text of a Dockerfile that came with the request. There is no other file.
    Dockerfile(String),
}

/// First part of the key of a job without a repository. No owner's name has a `:`, so nothing that is granted to or set
/// for an owner counts for such a job.
const KEY: &str = "generator:/";

impl JobSource {
    /// Largest Dockerfile in bytes. The request line that brings one has 64 KiB at most, of which base64 takes 55, and a
    /// list of 1,000 jobs stays small.
    pub const LARGEST_DOCKERFILE: usize = 40 << 10;

    pub fn dockerfile(&self) -> Option<&str> {
        match self {
            Self::Git => None,
            Self::Dockerfile(text) => Some(text),
        }
    }

    /// Returns the identity of what the job builds: the repository's, or that of the image where there is none.
    pub fn key(&self, context: &JobContext, case: RepoCase) -> String {
        match self {
            Self::Git => context.repository(case),
            Self::Dockerfile(_) => {
                let name = format!("{}/{}", context.docker_repo_base, context.repo);
                let image = ImageRef::parse(&format!("{name}:x"));
                format!("{KEY}{}", image.map_or(name, |image| image.canonical()))
            }
        }
    }
}

/// Returns the id that Git gives a file, as `git hash-object FILE` prints it. It stands for a commit in jobs that have none.
pub fn blob_id(content: &str) -> CommitId {
    let mut hash = Sha1::new();
    hash.update(format!("blob {}\0", content.len()));
    hash.update(content);
    CommitId::parse(&hex::encode(hash.finalize())).unwrap_or_else(|e| unreachable!("a SHA-1 has 40 digits: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_one_of_git() {
        // printf 'FROM busybox\n' | git hash-object --stdin
        assert_eq!(blob_id("FROM busybox\n").as_str(), "24a79d08b63b5541e657dc21e0d0b6acd7180e97");
        assert_eq!(blob_id("").as_str(), "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391");
    }

    #[test]
    fn a_key_is_no_repositorys() {
        let context = |owner: &str, base: &str| {
            let text = format!(
                r#"{{"owner":"{owner}","repo":"example","branch":"","commit":"x","github":false,"dockerRepoBase":"{base}","tag":"x"}}"#
            );
            JobContext::read(&text).unwrap()
        };
        let inline = JobSource::Dockerfile("FROM x".into());
        let key = inline.key(&context("generator", "Quay.io/cts"), RepoCase::Keep);
        assert_eq!(key, "generator:/quay.io/cts/example");
        assert_ne!(key, JobSource::Git.key(&context("generator", "Quay.io/cts"), RepoCase::Keep));
        let limits = super::super::RepoLimits::new(&["generator/*".into()]).unwrap();
        assert!(!limits.allow(RepoCase::Ignore, &key));
    }
}
