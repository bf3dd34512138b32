use super::*;
use crate::model::{FailureClass, JobContext, NewJob};

/// Id of every test's job, so that snapshots are constant.
pub const JOB: &str = "019aa0b1-c2d3-7e4f-8a5b-6c7d8e9fa0b1";

pub fn links() -> JobLinks {
    let pages = Url::parse("https://github.com").ok();
    JobLinks { base_url: "https://ci.acme.org".into(), pages, environment: "staging".into() }
}

/// Makes a failed job with a repository, branch and cause that an attacker may have named.
pub fn job(owner: &str, branch: &str, cause: &str) -> Job {
    let text = serde_json::json!({"owner": owner, "repo": "hello", "branch": branch, "commit": "HEAD", "github": true,
        "dockerRepoBase": "q.io/t", "tag": "HEAD"});
    let context: JobContext = serde_json::from_value(text).unwrap();
    Job {
        id: JOB.parse().unwrap(),
        status: Status::Failure,
        cause: Some(cause.into()),
        class: Some(FailureClass::Dockerfile),
        resolved_commit: Some("1a2b3c4d".repeat(5).parse().unwrap()),
        ..Job::pending(NewJob::new(context, "q.io/t/acme-hello:HEAD".into()), crate::model::RepoCase::default())
    }
}

/// Makes a successful job with one pushed tag and one that a newer push keeps.
pub fn successful_job() -> Job {
    let tag = |tag: &str, digest: Option<&str>, kept: Option<&str>| TagResult {
        name: format!("q.io/t/acme-hello:{tag}"),
        digest: digest.map(str::to_owned),
        kept: kept.map(|id| id.parse().unwrap()),
    };
    let newer = "0d".repeat(20);
    Job {
        status: Status::Success,
        cause: None,
        class: None,
        digest: Some("sha256:1".into()),
        tags: vec![tag("1a2b3c4", Some("sha256:1"), None), tag("latest", None, Some(&newer))],
        ..job("acme", "develop", "")
    }
}
