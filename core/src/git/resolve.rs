//! The commit that a job asks for, and the branch or tag that the job counts for.

use super::command::{ask, local};
use super::errors::RepoError;
use super::{CommitSpec, Git, GitError, GitRef, Mirror, Oid};
use crate::model::LogSink;
use crate::process::Program;

/// Number of ids that Git is given as arguments at once.
const AT_ONCE: usize = 1000;

/// Object at the end of a name or an id, behind all tag objects.
enum ResolvedObject {
    Commit(Oid),
    /// An object of this other type.
    Other(String),
    Absent,
}

impl Git {
    /// Finds the commit to build. A branch or tag of the repository must reach it, unless it `is_granted`: a signed
    /// push or an earlier job named it, or an admin asks for it. `branch` counts only if no id is given.
    pub async fn resolve<'a>(
        &self,
        mirror: &Mirror,
        branch: impl Into<Option<&'a GitRef>>,
        commit: &CommitSpec,
        is_granted: bool,
    ) -> Result<Oid, GitError> {
        let branch = branch.into();
        let wanted = match commit {
            CommitSpec::Full(id) if is_granted => Some(id.as_str()),
            _ => None,
        };
        match self.try_resolve(mirror, branch, commit, is_granted).await {
            Err(RepoError::Damaged(what)) => {
                self.heal(mirror, wanted, &what).await?;
                let resolved = self.try_resolve(mirror, branch, commit, is_granted).await;
                self.healed(mirror, resolved).await
            }
            resolved => resolved.map_err(|error| error.into_error(&mirror.source)),
        }
    }

    async fn try_resolve(
        &self,
        mirror: &Mirror,
        branch: Option<&GitRef>,
        commit: &CommitSpec,
        is_granted: bool,
    ) -> Result<Oid, RepoError> {
        let source = &mirror.source;
        match commit {
            CommitSpec::Head => {
                let branch = branch.ok_or_else(|| GitError::refused("neither a branch nor a commit is named"))?;
                match self.tip(mirror, branch).await? {
                    Some((_, tip)) => Ok(tip),
                    None => Err(GitError::no_branch(branch, source, &self.branches(mirror).await).into()),
                }
            }
            CommitSpec::Full(id) => {
                let id = id.as_str();
                let oid = match self.target(mirror, id).await? {
                    ResolvedObject::Commit(oid) => oid,
                    ResolvedObject::Other(kind) => return Err(GitError::wrong_kind(id, &kind, source).into()),
                    ResolvedObject::Absent => return Err(GitError::no_commit(id, source, is_granted).into()),
                };
                match is_granted || self.reachable(mirror, &oid).await? {
                    true => Ok(oid),
                    false => Err(GitError::unreachable_commit(id, source).into()),
                }
            }
            CommitSpec::Short(prefix) => {
                let (mut reachable, mut others) = (Vec::new(), Vec::new());
                for oid in self.commits_with_prefix(mirror, prefix).await? {
                    let list = if self.reachable(mirror, &oid).await? { &mut reachable } else { &mut others };
                    list.push(oid);
                }
                if reachable.is_empty() && is_granted {
                    reachable.append(&mut others);
                }
                match (&reachable[..], &others[..]) {
                    ([oid], _) => Ok(*oid),
                    ([], []) => Err(GitError::no_commit(prefix, source, false).into()),
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

    /// Returns the full name of the ref that a job for `branch` counts for: the ref that was resolved, or, if the job
    /// names an id, the ref of that name that reaches `oid`. The log says if the name fits two refs, and if the job
    /// counts for none.
    pub async fn counts_for(
        &self,
        mirror: &Mirror,
        branch: &GitRef,
        commit: &CommitSpec,
        oid: &Oid,
        log: &dyn LogSink,
    ) -> Result<Option<String>, GitError> {
        let name = self.try_counts_for(mirror, branch, commit, oid, log).await;
        name.map_err(|error| error.into_error(&mirror.source))
    }

    async fn try_counts_for(
        &self,
        mirror: &Mirror,
        branch: &GitRef,
        commit: &CommitSpec,
        oid: &Oid,
        log: &dyn LogSink,
    ) -> Result<Option<String>, RepoError> {
        let repo = &mirror.source.repo;
        let names = self.refs_of(mirror, branch).await?;
        if *commit == CommitSpec::Head {
            if let [name, other, ..] = &names[..] {
                log.write(format!("{repo} has {name} and {other}: {branch} means {name}\n").as_bytes());
            }
            return Ok(names.into_iter().next());
        }
        for name in &names {
            if self.reaches(mirror, name, oid).await? {
                return Ok(Some(name.clone()));
            }
        }
        let why = match names.is_empty() {
            true => format!("{repo} has no branch or tag {branch}"),
            false => format!("{branch} of {repo} does not reach {oid}"),
        };
        log.write(format!("{why}: the commit is built as one of no branch\n").as_bytes());
        Ok(None)
    }

    /// Returns true if the commit can be built without asking the host: it is in the mirror, it `is_granted` or a
    /// branch or tag reaches it, and the branch that was named with it reaches it.
    pub(super) async fn has(&self, mirror: &Mirror, branch: Option<&GitRef>, id: &str, is_granted: bool) -> bool {
        let has = async {
            let ResolvedObject::Commit(oid) = self.target(mirror, id).await? else { return Ok(false) };
            let Some(branch) = branch else { return Ok(is_granted || self.reachable(mirror, &oid).await?) };
            for name in self.refs_of(mirror, branch).await? {
                if self.reaches(mirror, &name, &oid).await? {
                    return Ok(true);
                }
            }
            Ok::<_, RepoError>(false)
        };
        has.await.unwrap_or(false)
    }

    /// Returns the full name and the commit of the branch of this name, or else of the tag.
    pub(super) async fn tip(&self, mirror: &Mirror, branch: &GitRef) -> Result<Option<(String, Oid)>, RepoError> {
        let Some(name) = self.refs_of(mirror, branch).await?.into_iter().next() else { return Ok(None) };
        match self.target(mirror, &name).await? {
            ResolvedObject::Commit(oid) => Ok(Some((name, oid))),
            ResolvedObject::Other(kind) => Err(GitError::wrong_kind(&name, &kind, &mirror.source).into()),
            ResolvedObject::Absent => Err(RepoError::Damaged(format!("{name} leads to no object"))),
        }
    }

    /// Returns the refs of this name that exist, the preferred one first.
    async fn refs_of(&self, mirror: &Mirror, branch: &GitRef) -> Result<Vec<String>, RepoError> {
        let mut names = branch.full_names();
        // Git also lists the refs below a name, which the comparison removes.
        let listed =
            ask(self.git_on(mirror, &["for-each-ref", "--format=%(refname)"]).args(&names)).await?.unwrap_or_default();
        names.retain(|name| listed.split(|&b| b == b'\n').any(|line| line == name.as_bytes()));
        Ok(names)
    }

    /// Returns the first names of branches for a message. The list is empty if they cannot be read.
    pub(super) async fn branches(&self, mirror: &Mirror) -> Vec<String> {
        let args = ["for-each-ref", "--count=6", "--format=%(refname:lstrip=2)", "refs/heads"];
        let listed = ask(self.git_on(mirror, &args)).await.ok().flatten().unwrap_or_default();
        listed.split(|&b| b == b'\n').filter(|n| !n.is_empty()).map(|n| String::from_utf8_lossy(n).into()).collect()
    }

    /// Returns the commit that a full id or a full ref name leads to.
    pub(super) async fn commit(&self, mirror: &Mirror, name: &str) -> Result<Option<Oid>, RepoError> {
        self.object(mirror, &format!("{name}^{{commit}}")).await
    }

    /// Returns the type of the object that a full id leads to, if that is no commit; none if there is no such object.
    pub(super) async fn other_kind(&self, mirror: &Mirror, id: &str) -> Result<Option<String>, RepoError> {
        Ok(match self.target(mirror, id).await? {
            ResolvedObject::Other(kind) => Some(kind),
            ResolvedObject::Commit(_) | ResolvedObject::Absent => None,
        })
    }

    async fn target(&self, mirror: &Mirror, name: &str) -> Result<ResolvedObject, RepoError> {
        if let Some(oid) = self.commit(mirror, name).await? {
            return Ok(ResolvedObject::Commit(oid));
        }
        let Some(oid) = self.object(mirror, &format!("{name}^{{}}")).await? else { return Ok(ResolvedObject::Absent) };
        let kind = ask(self.git_on(mirror, &["cat-file", "-t", &oid.to_string()])).await?.unwrap_or_default();
        match kind.trim_ascii() {
            // An unreadable commit, or a tag whose object is missing, counts as absent.
            b"" | b"commit" | b"tag" => Ok(ResolvedObject::Absent),
            kind => Ok(ResolvedObject::Other(String::from_utf8_lossy(kind).into_owned())),
        }
    }

    /// Returns the object that this expression names, if it exists.
    pub(super) async fn object(&self, mirror: &Mirror, expression: &str) -> Result<Option<Oid>, RepoError> {
        if has_other_format(mirror, expression) {
            return Ok(None);
        }
        let id =
            ask(self.git_on(mirror, &["rev-parse", "--verify", "--quiet", "--end-of-options", expression])).await?;
        id.map(|id| oid(&id)).transpose()
    }

    /// Returns true if this ref leads to a commit that has `oid` in its history.
    async fn reaches(&self, mirror: &Mirror, name: &str, oid: &Oid) -> Result<bool, RepoError> {
        let ResolvedObject::Commit(tip) = self.target(mirror, name).await? else { return Ok(false) };
        let args = ["merge-base", "--is-ancestor", &oid.to_string(), &tip.to_string()];
        Ok(ask(self.git_on(mirror, &args)).await?.is_some())
    }

    async fn reachable(&self, mirror: &Mirror, oid: &Oid) -> Result<bool, RepoError> {
        let args = ["rev-list", "--max-count=1", &oid.to_string(), "--not", "--branches", "--tags"];
        Ok(ask(self.git_on(mirror, &args)).await?.is_some_and(|new| new.is_empty()))
    }

    /// Returns true if `older` comes before `newer` in the history. A commit that is not in the mirror comes before
    /// none.
    pub async fn is_ancestor(&self, mirror: &Mirror, older: &str, newer: &str) -> Result<bool, GitError> {
        let ask = async {
            if older == newer || self.commit(mirror, newer).await?.is_none() {
                return Ok(false);
            }
            let asked = ask(self.git_on(mirror, &["merge-base", "--is-ancestor", older, newer])).await?;
            Ok::<_, RepoError>(asked.is_some())
        };
        ask.await.map_err(|error| error.into_error(&mirror.source))
    }

    /// Returns the message of a commit, as UTF-8.
    pub async fn message(&self, mirror: &Mirror, commit: &Oid) -> Result<String, GitError> {
        let args = ["show", "--no-patch", "--format=%B", "--encoding=UTF-8", &commit.to_string()];
        let message = ask(self.git_on(mirror, &args)).await.map_err(|error| error.into_error(&mirror.source))?;
        Ok(String::from_utf8_lossy(&message.unwrap_or_default()).into_owned())
    }

    /// Returns a commit other than `own` whose id starts with this prefix, or to which a tag object with such an id leads.
    pub async fn other_commit(&self, mirror: &Mirror, prefix: &str, own: &str) -> Result<Option<String>, GitError> {
        self.try_other_commit(mirror, prefix, own).await.map_err(|error| error.into_error(&mirror.source))
    }

    async fn try_other_commit(&self, mirror: &Mirror, prefix: &str, own: &str) -> Result<Option<String>, RepoError> {
        for ids in self.objects_with_prefix(mirror, prefix).await?.chunks(AT_ONCE) {
            // Git leaves out what leads to no commit.
            let list = self.git_on(mirror, &["rev-list", "--no-walk=unsorted", "--ignore-missing"]);
            let commits = ask(list.args(ids.iter().map(Oid::to_string))).await?.unwrap_or_default();
            if let Some(other) = String::from_utf8_lossy(&commits).lines().find(|commit| *commit != own) {
                return Ok(Some(other.into()));
            }
        }
        Ok(None)
    }

    async fn objects_with_prefix(&self, mirror: &Mirror, prefix: &str) -> Result<Vec<Oid>, RepoError> {
        let args = ["rev-parse", &format!("--disambiguate={prefix}")];
        let ids = ask(self.git_on(mirror, &args)).await?.unwrap_or_default();
        ids.split(|&b| b == b'\n').filter(|id| !id.is_empty()).map(oid).collect()
    }

    /// Returns the commits whose ids start with this prefix, in no order.
    async fn commits_with_prefix(&self, mirror: &Mirror, prefix: &str) -> Result<Vec<Oid>, RepoError> {
        let mut commits = Vec::new();
        for object in self.objects_with_prefix(mirror, prefix).await? {
            // The object of a tag leads to a commit of another id.
            if self.commit(mirror, &object.to_string()).await? == Some(object) {
                commits.push(object);
            }
        }
        Ok(commits)
    }

    fn git_on(&self, mirror: &Mirror, args: &[&str]) -> Program {
        local(&self.config, &mirror.path).args(args)
    }
}

/// Returns true if the expression begins with a full id of the other length than this repository's. Git would look for
/// a branch of that name, or take it for the beginning of a longer id.
fn has_other_format(mirror: &Mirror, expression: &str) -> bool {
    let id = expression.split('^').next().unwrap_or_default();
    let digits = if id.bytes().all(|b| b.is_ascii_hexdigit()) { id.len() } else { 0 };
    // The file was written by our own Git.
    let is_sha256 = || std::fs::read_to_string(mirror.path.join("config")).is_ok_and(|text| text.contains("sha256"));
    matches!(digits, 40 | 64) && (digits == 64) != is_sha256()
}

fn oid(line: &[u8]) -> Result<Oid, RepoError> {
    Oid::from_hex(line.trim_ascii()).map_err(|error| RepoError::Damaged(error.to_string()))
}
