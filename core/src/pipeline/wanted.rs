use crate::model::{CommitSpec, GitRef, Job, NameError, is_branch_or_tag};

/// The commit that a job is for, as the request or the push names it.
pub(super) struct Wanted {
    pub commit: CommitSpec,
    /// Branch or tag whose head is built. If the commit is an id, the branch that the request claims for the commit.
    pub branch: Option<GitRef>,
    /// Ref of a signed push. The commit counts for this ref even if the ref has moved since the push.
    pub pushed_ref: Option<String>,
    /// True if the commit is built even if no branch or tag reaches it.
    pub is_granted: bool,
}

impl Wanted {
    /// Reads the names in a job. The ref of a push decides, because its bare name may be both a branch's and a tag's. The
    /// default branch is ignored if the commit is an id, because the sender did not name the branch.
    pub fn from_job(job: &Job) -> Result<Self, NameError> {
        let context = &job.context;
        let commit = CommitSpec::parse(&context.commit)?;
        let pushed_ref = job.git_ref.clone().filter(|name| is_branch_or_tag(name));
        let is_granted = job.pushed || job.any_commit;
        let branch = match &pushed_ref {
            Some(name) => Some(GitRef::new(name)?),
            None => context.counted_branch().map(GitRef::new).transpose()?,
        };
        Ok(Self { commit, branch, pushed_ref, is_granted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{JobContext, NewJob};

    fn wanted(stored: &str, git_ref: Option<&str>) -> (Option<String>, Option<String>) {
        let context = JobContext::read(stored).unwrap();
        let new = NewJob { git_ref: git_ref.map(str::to_owned), ..NewJob::new(context, String::new()) };
        let wanted = Wanted::from_job(&Job::pending(new, crate::model::RepoCase::default())).unwrap();
        (wanted.branch.map(|branch| branch.to_string()), wanted.pushed_ref)
    }

    #[test]
    fn the_default_branch_is_ignored_beside_an_id() {
        let id = "0123456789".repeat(4);
        let (named, left_out) = (r#""branch":"develop","#, "");
        for (branch, commit, expected) in [
            (named, "HEAD", Some("develop")),
            (left_out, "HEAD", Some("develop")),
            (named, &*id, Some("develop")),
            (left_out, &id, None),
            (left_out, "0123", None),
        ] {
            let stored = format!(
                r#"{{"owner":"acme","repo":"hello",{branch}"commit":"{commit}","github":true,"dockerRepoBase":"q","tag":"x"}}"#
            );
            assert_eq!(wanted(&stored, None).0.as_deref(), expected, "{branch} {commit}");
        }
    }

    #[test]
    fn the_ref_of_a_push_decides() {
        let stored = r#"{"owner":"acme","repo":"hello","branch":"v1","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"x"}"#;
        for (git_ref, branch, pushed) in [
            (Some("refs/tags/v1"), "refs/tags/v1", Some("refs/tags/v1")),
            (Some("refs/pull/1/head"), "v1", None),
            (None, "v1", None),
        ] {
            let expected = (Some(branch.to_owned()), pushed.map(str::to_owned));
            assert_eq!(wanted(stored, git_ref), expected, "{git_ref:?}");
        }
    }
}
