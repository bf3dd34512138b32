use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{BadOption, BuildOptions, CommitSpec, RepoCase};

/// The build that a sender asks for, as the sender gave it: **not validated**. The wire form is totem's `context` object;
/// unknown names are kept and echoed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobContext {
    pub owner: String,
    pub repo: String,
    pub branch: String,
    pub commit: String,
    pub github: bool,
    pub docker_repo_base: String,
    pub tag: String,
    /// True if the sender named no branch. `branch` is then the wire's default, and counts for nothing beside a commit's id.
    /// No answer shows the flag; the stored context has no `branch` then.
    #[serde(skip)]
    pub branch_left_out: bool,
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl JobContext {
    /// Branch on totem's wire when a sender names none.
    pub const BRANCH: &str = "develop";

    /// Reads a text of [`JobContext::stored`].
    pub fn read(stored: &str) -> Result<Self, serde_json::Error> {
        let mut context: Map<String, Value> = serde_json::from_str(stored)?;
        let branch_left_out = !context.contains_key("branch");
        if branch_left_out {
            context.insert("branch".into(), Self::BRANCH.into());
        }
        Ok(Self { branch_left_out, ..serde_json::from_value(context.into())? })
    }

    /// Returns the JSON to store, with only what the sender gave.
    pub fn stored(&self) -> Result<String, serde_json::Error> {
        let mut context = serde_json::to_value(self)?;
        if let Some(context) = context.as_object_mut().filter(|_| self.branch_left_out) {
            context.remove("branch");
        }
        serde_json::to_string(&context)
    }

    /// Returns the branch or tag that the job is about: `None` if the sender named a commit's id and no branch.
    pub fn counted_branch(&self) -> Option<&str> {
        let is_head = || matches!(CommitSpec::parse(&self.commit), Ok(CommitSpec::Head));
        (!self.branch_left_out || is_head()).then_some(&self.branch)
    }

    /// Returns the identity of the repository, as [`RepoName::key`](super::RepoName::key) does for a name that is valid.
    pub fn repository(&self, case: RepoCase) -> String {
        case.key(&format!("{}/{}", self.owner, self.repo))
    }

    /// Name of the object with the options of the build. A value of another type is the caller's own.
    pub const BUILD: &str = "build";

    fn build(&self) -> Option<&Map<String, Value>> {
        self.extra.get(Self::BUILD)?.as_object()
    }

    /// Reads the options of the build.
    ///
    /// # Errors
    /// Every option that cannot be used.
    pub fn build_options(&self) -> Result<BuildOptions, Vec<BadOption>> {
        self.build().map_or_else(|| Ok(BuildOptions::default()), BuildOptions::read)
    }

    /// Sets options of the build beside those that it has, or in their place.
    pub fn set_build_options(&mut self, options: Map<String, Value>) {
        match self.extra.get_mut(Self::BUILD) {
            _ if options.is_empty() => {}
            Some(Value::Object(build)) => build.extend(options),
            _ => drop(self.extra.insert(Self::BUILD.into(), options.into())),
        }
    }

    /// Returns the entries of `extra` that are not options of the build: the caller's own, which are passed on unread.
    pub fn callers_own(&self) -> Map<String, Value> {
        let mut own = self.extra.clone();
        if let Some(Value::Object(build)) = own.get_mut(Self::BUILD) {
            build.retain(|name, _| !is_option(name));
            if build.is_empty() {
                own.remove(Self::BUILD);
            }
        }
        own
    }

    /// Returns the caller's own names that look like options of the build and stand in the wrong place: names of options
    /// outside of `build`, and unknown names in it (`build.dockerFile`).
    pub fn misplaced(&self) -> Vec<String> {
        let beside = self.extra.keys().filter(|name| is_option(name)).cloned();
        let unknown = self.build().into_iter().flatten().filter(|(name, _)| !is_option(name));
        beside.chain(unknown.map(|(name, _)| format!("{}.{name}", Self::BUILD))).collect()
    }
}

fn is_option(name: &str) -> bool {
    BuildOptions::NAMES.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_context_has_no_branch_that_nobody_named() {
        let sent = r#"{"owner":"a","repo":"b","branch":"develop","commit":"HEAD","github":true,"dockerRepoBase":"q","tag":"t","z":[1]}"#;
        let named = JobContext::read(sent).unwrap();
        assert!(!named.branch_left_out && JobContext::read(&named.stored().unwrap()).unwrap() == named);
        let left_out = JobContext { branch_left_out: true, ..named };
        assert_eq!(left_out.counted_branch(), Some("develop"), "the head that is built is the default branch's");
        let commit = JobContext { commit: "0123456789".repeat(4), ..left_out.clone() };
        assert_eq!(commit.counted_branch(), None);
        let stored = left_out.stored().unwrap();
        assert!(!stored.contains("branch"), "{stored}");
        assert_eq!(JobContext::read(&stored).unwrap(), left_out);
        assert_eq!(serde_json::to_string(&left_out).unwrap(), sent);
    }

    #[test]
    fn options_stand_under_build_and_every_other_name_is_the_callers() {
        let context = |more: Value| {
            let mut context = serde_json::json!({"owner": "a", "repo": "b", "branch": "c", "commit": "d", "github": true,
                "dockerRepoBase": "q", "tag": "t"});
            context.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value::<JobContext>(context).unwrap()
        };
        for (more, target, own, misplaced) in [
            (serde_json::json!({"build": {"target": "x"}}), Some("x"), "{}", ""),
            (serde_json::json!({"target": 5, "build": 17}), None, r#"{"build":17,"target":5}"#, "target"),
            (
                serde_json::json!({"build": {"target": "x", "number": 1}}),
                Some("x"),
                r#"{"build":{"number":1}}"#,
                "build.number",
            ),
        ] {
            let context = context(more);
            assert_eq!(context.build_options().unwrap().target.as_deref(), target);
            assert_eq!(serde_json::to_string(&context.callers_own()).unwrap(), own);
            assert_eq!(context.misplaced().join(" "), misplaced);
        }
        assert!(context(serde_json::json!({"build": {"target": 5}})).build_options().is_err());
    }
}
