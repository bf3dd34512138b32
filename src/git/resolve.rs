//! Which commit is meant.

use super::command::{ask, local};
use super::errors::Trouble;
use super::{CommitSpec, Git, GitError, GitRef, Mirror, Oid};
use crate::process::Program;

impl Git {
    /// Which commit is to be built. It is on a branch or a tag of the repository, or `pushed`: the `after` of a push
    /// whose signature is good.
    pub async fn resolve(
        &self,
        mirror: &Mirror,
        branch: &GitRef,
        commit: &CommitSpec,
        pushed: bool,
    ) -> Result<Oid, GitError> {
        let resolved = match self.try_resolve(mirror, branch, commit, pushed).await {
            Err(Trouble::Damaged(what)) => {
                let wanted = match commit {
                    CommitSpec::Full(id) if pushed => Some(id.as_str()),
                    _ => None,
                };
                self.heal(mirror, wanted, &what).await?;
                self.try_resolve(mirror, branch, commit, pushed).await
            }
            resolved => resolved,
        };
        resolved.map_err(|trouble| trouble.into_error(&mirror.source))
    }

    async fn try_resolve(
        &self,
        mirror: &Mirror,
        branch: &GitRef,
        commit: &CommitSpec,
        pushed: bool,
    ) -> Result<Oid, Trouble> {
        let source = &mirror.source;
        match commit {
            CommitSpec::Head => match self.tip(mirror, branch).await? {
                Some(tip) => Ok(tip),
                None => Err(GitError::no_branch(branch, source, &self.branches(mirror).await).into()),
            },
            CommitSpec::Full(id) => {
                let oid = self.commit(mirror, id).await?.ok_or_else(|| GitError::no_commit(id, source))?;
                match pushed || self.reachable(mirror, &oid).await? {
                    true => Ok(oid),
                    false => Err(GitError::unreachable_commit(id, source).into()),
                }
            }
            CommitSpec::Short(prefix) => {
                let (mut reachable, mut others) = (Vec::new(), Vec::new());
                for oid in self.commits_like(mirror, prefix).await? {
                    let list = if self.reachable(mirror, &oid).await? { &mut reachable } else { &mut others };
                    list.push(oid);
                }
                if reachable.is_empty() && pushed {
                    reachable.append(&mut others);
                }
                match (&reachable[..], &others[..]) {
                    ([oid], _) => Ok(*oid),
                    ([], []) => Err(GitError::no_commit(prefix, source).into()),
                    ([], [oid, ..]) => Err(GitError::unreachable_commit(oid, source).into()),
                    (several, _) => {
                        let several: Vec<_> = several.iter().take(5).map(Oid::to_string).collect();
                        let (repo, several) = (&source.repo, several.join(", "));
                        let message = format!("commit {prefix} of {repo} can be {several}: give more of its digits");
                        Err(GitError::refused(message).into())
                    }
                }
            }
        }
    }

    /// Whether the commit can be built without asking the other side: it is here, a branch or tag reaches it, and the
    /// branch that was asked for exists.
    pub(super) async fn has(&self, mirror: &Mirror, branch: &GitRef, id: &str) -> bool {
        let has = async {
            let Some(oid) = self.commit(mirror, id).await? else { return Ok(false) };
            Ok::<_, Trouble>(self.tip(mirror, branch).await?.is_some() && self.reachable(mirror, &oid).await?)
        };
        has.await.unwrap_or(false)
    }

    /// The commit of a branch, else of a tag, of this name.
    pub(super) async fn tip(&self, mirror: &Mirror, branch: &GitRef) -> Result<Option<Oid>, Trouble> {
        let Some(name) = self.ref_name(mirror, branch).await? else { return Ok(None) };
        match self.commit(mirror, &name).await? {
            Some(oid) => Ok(Some(oid)),
            None => Err(Trouble::Damaged(format!("{name} leads to no commit"))),
        }
    }

    /// The full name of the branch, else of the tag, of this name.
    pub(super) async fn ref_name(&self, mirror: &Mirror, branch: &GitRef) -> Result<Option<String>, Trouble> {
        let names = ["heads", "tags"].map(|kind| format!("refs/{kind}/{branch}"));
        // It also lists what is below a name: hence the comparison.
        let listed =
            ask(self.on(mirror, &["for-each-ref", "--format=%(refname)"]).args(&names)).await?.unwrap_or_default();
        let is_listed = |name: &String| listed.split(|&b| b == b'\n').any(|line| line == name.as_bytes());
        Ok(names.into_iter().find(is_listed))
    }

    /// The first names of branches; empty also when they cannot be read, as they are only for a message.
    pub(super) async fn branches(&self, mirror: &Mirror) -> Vec<String> {
        let args = ["for-each-ref", "--count=6", "--format=%(refname:lstrip=2)", "refs/heads"];
        let listed = ask(self.on(mirror, &args)).await.ok().flatten().unwrap_or_default();
        listed.split(|&b| b == b'\n').filter(|n| !n.is_empty()).map(|n| String::from_utf8_lossy(n).into()).collect()
    }

    /// The commit that a full id or a full ref name leads to.
    pub(super) async fn commit(&self, mirror: &Mirror, name: &str) -> Result<Option<Oid>, Trouble> {
        let name = format!("{name}^{{commit}}");
        let id = ask(self.on(mirror, &["rev-parse", "--verify", "--quiet", "--end-of-options", &name])).await?;
        id.map(|id| oid(&id)).transpose()
    }

    async fn reachable(&self, mirror: &Mirror, oid: &Oid) -> Result<bool, Trouble> {
        let args = ["rev-list", "--max-count=1", &oid.to_string(), "--not", "--branches", "--tags"];
        Ok(ask(self.on(mirror, &args)).await?.is_some_and(|new| new.is_empty()))
    }

    /// Whether `older` comes before `newer` in the history. A commit that is not here comes before none.
    pub async fn is_ancestor(&self, mirror: &Mirror, older: &str, newer: &str) -> Result<bool, GitError> {
        let ask = async {
            if older == newer || self.commit(mirror, newer).await?.is_none() {
                return Ok(false);
            }
            let asked = ask(self.on(mirror, &["merge-base", "--is-ancestor", older, newer])).await?;
            Ok::<_, Trouble>(asked.is_some())
        };
        ask.await.map_err(|trouble| trouble.into_error(&mirror.source))
    }

    /// The commits whose ids start so, in no order.
    async fn commits_like(&self, mirror: &Mirror, prefix: &str) -> Result<Vec<Oid>, Trouble> {
        let args = ["rev-parse", &format!("--disambiguate={prefix}")];
        let ids = ask(self.on(mirror, &args)).await?.unwrap_or_default();
        let mut commits = Vec::new();
        for id in ids.split(|&b| b == b'\n').filter(|id| !id.is_empty()) {
            let object = oid(id)?;
            // A tag's object leads to a commit of another id.
            if self.commit(mirror, &object.to_string()).await? == Some(object) {
                commits.push(object);
            }
        }
        Ok(commits)
    }

    fn on(&self, mirror: &Mirror, args: &[&str]) -> Program {
        local(&self.config, &mirror.path).args(args)
    }
}

fn oid(line: &[u8]) -> Result<Oid, Trouble> {
    Oid::from_hex(line.trim_ascii()).map_err(|error| Trouble::Damaged(error.to_string()))
}
