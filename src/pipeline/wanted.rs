use crate::model::{CommitSpec, GitRef, Job, NameError, is_branch_or_tag};

/// Which commit a job is for.
pub(super) struct Wanted {
    pub commit: CommitSpec,
    /// The branch or tag whose head is built; or, beside an id, the one that the request claims for it.
    pub branch: Option<GitRef>,
    /// The ref of a signed push: the push was this ref's, wherever the ref is by now.
    pub pushed_ref: Option<String>,
    /// The commit is built even if no branch or tag reaches it.
    pub is_granted: bool,
}

impl Wanted {
    /// Reads the names in a job. A push's own ref decides, as its bare name may be a branch's and a tag's; and a branch
    /// that the sender did not name counts for nothing beside an id.
    pub fn of(job: &Job) -> Result<Self, NameError> {
        let context = &job.context;
        let commit = CommitSpec::parse(&context.commit)?;
        let pushed_ref = job.git_ref.clone().filter(|name| is_branch_or_tag(name));
        let is_granted = job.pushed || job.any_commit;
        let branch = match &pushed_ref {
            Some(name) => Some(GitRef::new(name)?),
            None if context.branch_left_out && commit != CommitSpec::Head => None,
            None => Some(GitRef::new(&context.branch)?),
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
        let wanted = Wanted::of(&Job::pending(new, crate::model::RepoCase::default())).unwrap();
        (wanted.branch.map(|branch| branch.to_string()), wanted.pushed_ref)
    }

    #[test]
    fn a_branch_that_nobody_named_counts_for_nothing_beside_an_id() {
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
