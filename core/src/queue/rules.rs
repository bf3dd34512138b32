use globset::{GlobBuilder, GlobMatcher};

use crate::model::{JobContext, RepoCase, RepoGlob, RepoGlobError, Supersede};

/// The server's rules for a job's place in the queue. A request has no influence on it.
#[derive(Default)]
pub struct Rules {
    pub priorities: Priorities,
    pub supersede: Supersede,
}

/// The rules of PRIORITIES. The first one that matches counts.
#[derive(Default)]
pub struct Priorities {
    rules: Vec<Rule>,
    case: RepoCase,
}

/// The reason why a rule of PRIORITIES cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    #[error(transparent)]
    Repository(#[from] RepoGlobError),
    #[error(transparent)]
    Branch(#[from] globset::Error),
}

struct Rule {
    repository: RepoGlob,
    branch: Option<GlobMatcher>,
    priority: i64,
}

impl Priorities {
    /// Reads rules of the form [`RepoGlob`] or `RepoGlob@branch`. A `*` behind the `@` takes slashes, too.
    pub fn new(rules: &[(String, i64)], case: RepoCase) -> Result<Self, RuleError> {
        let rule = |(glob, priority): &(String, i64)| -> Result<Rule, RuleError> {
            let (repository, branch) = match glob.split_once('@') {
                Some((repository, branch)) => (repository, Some(branch)),
                None => (glob.as_str(), None),
            };
            let branch = branch.map(|branch| GlobBuilder::new(branch).build()).transpose()?;
            Ok(Rule {
                repository: RepoGlob::new(repository)?,
                branch: branch.map(|glob| glob.compile_matcher()),
                priority: *priority,
            })
        };
        Ok(Self { rules: rules.iter().map(rule).collect::<Result<_, _>>()?, case })
    }

    pub fn of(&self, context: &JobContext) -> i64 {
        let fits = |rule: &&Rule| {
            rule.repository.is_match(self.case, &context.owner, &context.repo)
                && rule
                    .branch
                    .as_ref()
                    .is_none_or(|glob| context.counted_branch().is_some_and(|name| glob.is_match(name)))
        };
        self.rules.iter().find(fits).map_or(0, |rule| rule.priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_counts() {
        let rules =
            [("acme/web@release/*", 9), ("acme/web@main", 5), ("acme/slow-*", -3), ("other", 2), ("*@hotfix*", 7)];
        let rules: Vec<_> = rules.map(|(glob, priority)| (glob.to_owned(), priority)).into();
        let priorities = Priorities::new(&rules, RepoCase::Ignore).unwrap();
        for (owner, repo, branch, expected) in [
            ("acme", "web", "release/1/2", 9),
            ("Acme", "Web", "main", 5),
            ("acme", "web", "Main", 0),
            ("acme", "web", "develop", 0),
            ("acme", "slow-x", "main", -3),
            ("other", "x", "y", 2),
            ("other2", "x", "y", 0),
            ("third", "x", "hotfix/7", 7),
            ("acme/web@main", "x", "z", 0),
        ] {
            let text = format!(
                r#"{{"owner":"{owner}","repo":"{repo}","branch":"{branch}","commit":"HEAD","github":true,
                "dockerRepoBase":"q","tag":"HEAD"}}"#
            );
            let context: JobContext = serde_json::from_str(&text).unwrap();
            assert_eq!(priorities.of(&context), expected, "{owner}/{repo}@{branch}");
        }
        let id = "0123456789".repeat(4);
        let stored = format!(
            r#"{{"owner":"a","repo":"hotfix","commit":"{id}","github":true,"dockerRepoBase":"q","tag":"{id}"}}"#
        );
        let rules = [("*@develop".to_owned(), 4), ("a/*".to_owned(), 3)];
        let priorities = Priorities::new(&rules, RepoCase::Ignore).unwrap();
        assert_eq!(priorities.of(&JobContext::read(&stored).unwrap()), 3, "nobody named the wire's default branch");
        assert!(Priorities::new(&[("a{".into(), 1)], RepoCase::Ignore).is_err());
    }
}
