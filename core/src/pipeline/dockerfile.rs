//! Finds the Dockerfile and its `.dockerignore` in a commit's tree, and explains to the user if they are no files.

use super::failure::StageFailure;
use super::plan::Plan;
use crate::git::{Entry, EntryKind, GitError, PathEnd, Snapshot};
use crate::model::{DockerfilePath, FailureClass, LogSink, RepoName};

/// Docker's default name. For this name alone, Docker accepts the lower case, too.
const DEFAULT: &str = "Dockerfile";
/// Largest Dockerfile and `.dockerignore`, in bytes. Nobody writes a larger one by hand.
const LARGEST: u64 = 1 << 20;
/// Number of Dockerfiles that a message lists.
const SHOWN: usize = 5;

/// Returns the path of the Dockerfile: as it was requested, or with its default name in lower case. `context` is the folder
/// that is the context; it is empty if the context is the whole tree.
pub(super) async fn find(
    snapshot: &Snapshot,
    repo: &RepoName,
    requested: &DockerfilePath,
    context: &[u8],
    log: &dyn LogSink,
) -> Result<DockerfilePath, StageFailure> {
    let place = format!("of {repo} in commit {}", snapshot.commit);
    let mut path = requested.clone();
    let mut found = snapshot.find(path.as_str().as_bytes()).await?;
    if found == PathEnd::Nothing
        && let Some(lower) = in_lower_case(requested)
    {
        let other = snapshot.find(lower.as_str().as_bytes()).await?;
        if other != PathEnd::Nothing {
            log.write(format!("There is no {requested}: the file is {lower}\n").as_bytes());
            (path, found) = (lower, other);
        }
    }
    let message = match found {
        PathEnd::File { at, .. } if snapshot.entries[at].size > LARGEST => Some(too_large(path.as_str(), &place)),
        PathEnd::File { at, .. } => is_utf16(snapshot, &snapshot.entries[at])
            .await?
            .then(|| format!("{path} {place} is in UTF-16, which no builder reads: save it as UTF-8")),
        PathEnd::Nothing => Some(format!(
            "{repo} has no file {path} in commit {}{}: add it, build a branch that has it, or name another Dockerfile \
             (\"build.dockerfile\" of the job, or the setting DOCKERFILE)",
            snapshot.commit,
            others(&snapshot.entries)
        )),
        PathEnd::BrokenLink(lost) => {
            let advice = "let it lead to a file of the repository, by a relative path";
            Some(format!("{path} {place} is no file: {lost}; {advice}"))
        }
        PathEnd::Folder => Some(format!("{path} {place} is a directory: name the Dockerfile in it")),
        PathEnd::Submodule => Some(format!("{path} {place} is a submodule: name the Dockerfile in it")),
    };
    match message {
        Some(message) => Err(StageFailure::new(FailureClass::Dockerfile, message)),
        None => check_ignore_file(snapshot, &path, context, &place, log).await.map(|()| path),
    }
}

/// Returns the path of a plan's Dockerfile; `None` if the commit has none and the job does not need one.
pub(super) async fn find_for(
    plan: &Plan,
    snapshot: &Snapshot,
    repo: &RepoName,
    context: &[u8],
    log: &dyn LogSink,
) -> Result<Option<DockerfilePath>, StageFailure> {
    if !plan.needs_dockerfile && is_missing(snapshot, &plan.dockerfile).await? {
        return Ok(None);
    }
    find(snapshot, repo, &plan.dockerfile, context, log).await.map(Some)
}

/// Returns true if the commit has nothing by this name, nor by its name in lower case.
async fn is_missing(snapshot: &Snapshot, path: &DockerfilePath) -> Result<bool, GitError> {
    for path in [Some(path.clone()), in_lower_case(path)].into_iter().flatten() {
        if snapshot.find(path.as_str().as_bytes()).await? != PathEnd::Nothing {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns the text of the Dockerfile at this path, which [`find`] has found; empty if it is no file.
pub(super) async fn read(snapshot: &Snapshot, path: &DockerfilePath) -> Result<String, GitError> {
    let PathEnd::File { at, .. } = snapshot.find(path.as_str().as_bytes()).await? else { return Ok(String::new()) };
    let text = snapshot.blobs()?.read(&snapshot.entries[at]).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Returns true if a file begins as text in UTF-16 does: with a mark of the byte order, or with one zero in two bytes.
async fn is_utf16(snapshot: &Snapshot, entry: &Entry) -> Result<bool, StageFailure> {
    let text = snapshot.blobs()?.read(entry).await?;
    let begins = |mark: [u8; 2]| text.starts_with(&mark);
    let has_zero = matches!(text[..], [0, b, 0, d, ..] | [b, 0, d, 0, ..] if b != 0 && d != 0);
    Ok(begins([0xff, 0xfe]) || begins([0xfe, 0xff]) || has_zero)
}

fn too_large(path: &str, place: &str) -> String {
    format!("{path} {place} has more than 1 MiB: make it smaller")
}

/// Returns a text of the files whose names are those of Dockerfiles, or an empty one if there are none.
fn others(entries: &[Entry]) -> String {
    let is_dockerfile = |name: &str| {
        let name = name.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
        ["dockerfile", "containerfile"].iter().any(|usual| match name.strip_prefix(usual) {
            Some(rest) => rest.is_empty() || rest.starts_with('.') && !rest.ends_with(".dockerignore"),
            None => name.ends_with(&format!(".{usual}")),
        })
    };
    let is_file = |entry: &&Entry| matches!(entry.kind, EntryKind::File | EntryKind::Exec | EntryKind::Symlink);
    let names = entries.iter().filter(is_file).filter_map(|entry| std::str::from_utf8(&entry.path).ok());
    let names: Vec<_> = names.filter(|name| is_dockerfile(name)).collect();
    let more = names.len().saturating_sub(SHOWN);
    match names.is_empty() {
        true => String::new(),
        false if more > 0 => format!(", only {} and {more} more", names[..SHOWN].join(", ")),
        false => format!(", only {}", names.join(", ")),
    }
}

/// Returns `docker/dockerfile` for `docker/Dockerfile`, and `None` for a path with another file name.
fn in_lower_case(path: &DockerfilePath) -> Option<DockerfilePath> {
    let folder = path.as_str().strip_suffix(DEFAULT).filter(|folder| folder.is_empty() || folder.ends_with('/'))?;
    DockerfilePath::new(&format!("{folder}{}", DEFAULT.to_ascii_lowercase())).ok()
}

/// Refuses a directory or a submodule in the place of the ignore file that both builders look for. Writes to the log which
/// broken link counts as absent.
async fn check_ignore_file(
    snapshot: &Snapshot,
    dockerfile: &DockerfilePath,
    context: &[u8],
    place: &str,
    log: &dyn LogSink,
) -> Result<(), StageFailure> {
    let folder = String::from_utf8_lossy(context);
    let of_context = if folder.is_empty() { ".dockerignore".to_owned() } else { format!("{folder}/.dockerignore") };
    for name in [format!("{dockerfile}.dockerignore"), of_context] {
        let kind = match snapshot.find(name.as_bytes()).await? {
            PathEnd::File { at, .. } if snapshot.entries[at].size > LARGEST => {
                return Err(StageFailure::new(FailureClass::Dockerfile, too_large(&name, place)));
            }
            PathEnd::File { .. } => return Ok(()),
            PathEnd::Nothing => continue,
            PathEnd::BrokenLink(lost) => {
                let advice = "let it lead to a file of the repository, by a relative path, if it is to count";
                log.write(format!("{name} counts as absent: {lost}; {advice}\n").as_bytes());
                continue;
            }
            PathEnd::Folder => "directory",
            PathEnd::Submodule => "submodule",
        };
        let message = format!("{name} {place} is a {kind}: make it a file, or give it another name");
        return Err(StageFailure::new(FailureClass::Dockerfile, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_name_alone_has_a_lower_case() {
        let lower = |path: &str| in_lower_case(&DockerfilePath::new(path).unwrap()).map(|path| path.to_string());
        assert_eq!(lower("Dockerfile").as_deref(), Some("dockerfile"));
        assert_eq!(lower("a/Dockerfile").as_deref(), Some("a/dockerfile"));
        for path in ["dockerfile", "Dockerfile.web", "a/MyDockerfile", "DOCKERFILE"] {
            assert_eq!(lower(path), None, "{path}");
        }
    }
}
