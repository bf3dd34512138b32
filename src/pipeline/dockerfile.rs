//! Finds the Dockerfile and its `.dockerignore` in a commit's tree, and explains to the user if they are no files.

use super::failure::StageFailure;
use crate::git::{GitError, PathEnd, Snapshot};
use crate::model::{DockerfilePath, FailureClass, LogSink, RepoName};

/// Docker's default name. For this name alone, Docker accepts the lower case, too.
const DEFAULT: &str = "Dockerfile";

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
        PathEnd::File { .. } => None,
        PathEnd::Nothing => Some(format!(
            "{repo} has no file {path} in commit {}: add it, build a branch that has it, or name another Dockerfile \
             (\"dockerfile\" of the job, or the setting DOCKERFILE)",
            snapshot.commit
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

/// Largest Dockerfile that is read, in bytes. Nobody writes a larger one by hand.
const LARGEST: u64 = 1 << 20;

/// Returns the text of the Dockerfile at this path; empty if it is too large, or no file.
pub(super) async fn read(snapshot: &Snapshot, path: &DockerfilePath) -> Result<String, GitError> {
    let PathEnd::File { at, .. } = snapshot.find(path.as_str().as_bytes()).await? else { return Ok(String::new()) };
    let entry = &snapshot.entries[at];
    if entry.size > LARGEST {
        return Ok(String::new());
    }
    let text = snapshot.blobs()?.read(entry).await?;
    Ok(String::from_utf8_lossy(&text).into_owned())
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
