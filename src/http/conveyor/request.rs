use serde_json::{Deserializer, Map, Value};

use crate::http::error::ApiError;
use crate::http::messages;
use crate::model::{CommitId, GitRef, JobContext, RepoName, bare_name};

/// The repository, the branch and the commit of a new build: a commit, a branch, or both.
#[derive(Debug, PartialEq)]
pub struct NewBuild {
    pub repo: RepoName,
    /// Short name of the branch.
    pub branch: Option<String>,
    pub commit: Option<CommitId>,
}

impl NewBuild {
    /// Reads the texts of a request. Empty ones count as absent.
    ///
    /// # Errors
    /// The text that cannot be used, or neither branch nor sha.
    pub fn new(repository: &str, branch: &str, sha: &str) -> Result<Self, ApiError> {
        let wrong = |why: String| ApiError::with(&messages::BAD_BUILD, why);
        let repo = RepoName::parse(repository).map_err(|error| wrong(error.to_string()))?;
        if branch.is_empty() && sha.is_empty() {
            return Err(wrong("it names neither a branch nor a sha".into()));
        }
        let branch = match branch {
            "" => None,
            name => Some(GitRef::new(name).map_err(|error| wrong(error.to_string()))?),
        };
        let commit = match sha {
            "" => None,
            sha => Some(CommitId::parse(sha).map_err(|error| wrong(error.to_string()))?),
        };
        if commit.as_ref().is_some_and(CommitId::is_zero) {
            return Err(wrong("a sha of zeros is no commit".into()));
        }
        Ok(Self { repo, branch: branch.map(|branch| bare_name(branch.as_str()).to_owned()), commit })
    }

    /// Reads the body of `POST /builds` as Go's decoder did: the case of a key does not matter, an unknown key is passed over,
    /// and so is what follows the object.
    pub fn read(body: &[u8]) -> Result<Self, ApiError> {
        let broken = |why: String| ApiError::with(&messages::BAD_JSON, why);
        let fields = match Deserializer::from_slice(body).into_iter::<Map<String, Value>>().next() {
            Some(Ok(fields)) => fields,
            Some(Err(error)) => return Err(broken(error.to_string())),
            None => return Err(broken("the body is empty".into())),
        };
        let text = |name: &str| match fields.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)) {
            None | Some((_, Value::Null)) => Ok(""),
            Some((_, Value::String(text))) => Ok(text.as_str()),
            Some(_) => Err(ApiError::with(&messages::BAD_BUILD, format!("{name} is no text"))),
        };
        Self::new(text("repository")?, text("branch")?, text("sha")?)
    }

    /// Returns the context of the build's job, which has the commit's id as its tag. Without a commit it is to be found.
    pub fn context(&self, docker_repo_base: String, commit: &str) -> JobContext {
        JobContext {
            owner: self.repo.owner().into(),
            repo: self.repo.name().into(),
            branch: self.branch.clone().unwrap_or_else(|| JobContext::BRANCH.into()),
            commit: commit.into(),
            github: true,
            docker_repo_base,
            tag: commit.into(),
            branch_left_out: self.branch.is_none(),
            extra: Map::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_read_as_go_reads_it() {
        let sha = "A1".repeat(20);
        let read = |body: &str| NewBuild::read(body.as_bytes());
        let build = |branch: Option<&str>, commit: Option<&str>| NewBuild {
            repo: RepoName::new("acme", "hello").unwrap(),
            branch: branch.map(Into::into),
            commit: commit.map(|id| CommitId::parse(id).unwrap()),
        };
        for (body, expected) in [
            (format!(r#"{{"repository":"acme/hello","branch":"x","sha":"{sha}"}}"#), build(Some("x"), Some(&sha))),
            (format!(r#"{{"Repository":"acme/hello","SHA":"{sha}","x":[1]}}"#), build(None, Some(&sha))),
            (format!(r#"{{"repository":"acme/hello","branch":null,"sha":"{sha}"}} x"#), build(None, Some(&sha))),
            (r#"{"REPOSITORY":"acme/hello","branch":"refs/heads/f/x","sha":""}"#.into(), build(Some("f/x"), None)),
        ] {
            assert_eq!(read(&body).unwrap(), expected, "{body}");
        }
        for (body, why) in [
            ("", "Invalid JSON: the body is empty"),
            ("{", "Invalid JSON: EOF while parsing"),
            ("[]", "Invalid JSON: invalid type: sequence"),
            ("{}", "repository \"\" is not valid: it must be OWNER/NAME"),
            (r#"{"repository":"acme"}"#, "it must be OWNER/NAME"),
            (r#"{"repository":"acme/hello"}"#, "neither a branch nor a sha"),
            (r#"{"repository":"acme/hello","branch":""}"#, "neither a branch nor a sha"),
            (r#"{"repository":"acme/hello","branch":5}"#, "branch is no text"),
            (r#"{"repository":"acme/hello","branch":"--x"}"#, "must not start with '-'"),
            (r#"{"repository":"acme/hello","sha":"c0ffee"}"#, "commit"),
            (r#"{"repository":"acme/hello","sha":"0000000000000000000000000000000000000000"}"#, "sha of zeros"),
        ] {
            let said = read(body).unwrap_err().text("");
            assert!(said.contains(why), "{body}: {said}");
        }
    }
}
