use super::*;
use crate::model::{FailureClass, JobContext, NewJob};

pub fn links() -> Links {
    let pages = Url::parse("https://github.com").ok();
    Links { base_url: "https://ci.acme.org".into(), pages, environment: "staging".into() }
}

/// A job that failed, of a repository, branch and cause that a foe may have named.
pub fn job(owner: &str, branch: &str, cause: &str) -> Job {
    let text = serde_json::json!({"owner": owner, "repo": "hello", "branch": branch, "commit": "HEAD", "github": true,
        "dockerRepoBase": "q.io/t", "tag": "HEAD"});
    let context: JobContext = serde_json::from_value(text).unwrap();
    Job {
        status: Status::Failure,
        cause: Some(cause.into()),
        class: Some(FailureClass::Dockerfile),
        resolved_commit: Some("1a2b3c4d".repeat(5).parse().unwrap()),
        ..Job::pending(NewJob::new(context, "q.io/t/acme-hello:HEAD".into()), crate::model::RepoCase::default())
    }
}
