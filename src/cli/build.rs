use std::io::{self, Write};
use std::process::ExitCode;

use super::{ConnectionArgs, FreshArgs, INTERRUPTED, LocalDaemon, built, exit_code, follow, pick, print_json};
use crate::client::{ApiClient, NewRemoteBuild, NewRemoteJob, RemoteJob};
use crate::model::RepoName;

/// Build a repository's image and push it
#[derive(Debug, clap::Args)]
pub struct BuildArgs {
    /// OWNER/REPO, OWNER/REPO@COMMIT or @COMMIT [default: that of the current folder's origin]. OWNER/REPO:COMMIT follows
    /// the log and ends with a line REPOSITORY@DIGEST; a commit that is built already is not built again
    #[arg(value_name = "OWNER/REPO[@COMMIT]", value_parser = build_target)]
    repository: Option<BuildTarget>,
    /// The branch or tag; refs/tags/NAME for a tag that has a branch's name [default: the current folder's branch if the
    /// repository is guessed, else develop]
    #[arg(long)]
    branch: Option<String>,
    /// The image's tag [default: the commit that is asked for]
    #[arg(long)]
    tag: Option<String>,
    /// The image's name below the repository's own, or a whole name that IMAGES_ALLOWED grants
    /// [default: below it for another Dockerfile than the daemon's, else its own]
    #[arg(long, value_name = "NAME")]
    image: Option<String>,
    /// Path of the Dockerfile in the repository [default: the daemon's DOCKERFILE, in the context]
    #[arg(long, value_name = "PATH")]
    dockerfile: Option<String>,
    /// The folder of the repository that is the build context [default: the daemon's CONTEXT]
    #[arg(long, value_name = "FOLDER")]
    context: Option<String>,
    /// Have .git in the build context, 50 commits deep with their tags [default: the daemon's KEEP_GIT_DIR]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    keep_git_dir: Option<bool>,
    /// The stage to stop at [default: the last]
    #[arg(long, value_name = "STAGE")]
    target: Option<String>,
    /// A build argument; everyone with the image can read it
    #[arg(long = "build-arg", value_name = "NAME=VALUE", value_parser = build_arg)]
    build_args: Vec<(String, String)>,
    /// The platform, such as linux/arm64 [default: the engine's own]
    #[arg(long)]
    platform: Option<String>,
    #[command(flatten)]
    fresh: FreshArgs,
    /// Build the image and push nothing
    #[arg(long)]
    dry_run: bool,
    /// Build OWNER/REPO:COMMIT even if it is built already
    #[arg(long)]
    force: bool,
    /// Show the log until the job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

#[derive(Debug, Clone, PartialEq)]
struct BuildTarget {
    /// `None` for the current folder's.
    repo: Option<RepoName>,
    commit: Option<String>,
    /// True for `OWNER/REPO:COMMIT`, as the README of Conveyor has it, which asks for the image's digest.
    wants_digest: bool,
}

fn build_target(text: &str) -> Result<BuildTarget, String> {
    let (name, commit) = match text.split_once(['@', ':']) {
        Some((name, commit)) => (name, Some(commit)),
        None => (text, None),
    };
    let repo = if name.is_empty() && text.starts_with('@') { Ok(None) } else { RepoName::parse(name).map(Some) };
    let wants_digest = text.as_bytes().get(name.len()) == Some(&b':');
    match repo {
        Ok(repo) if commit != Some("") => Ok(BuildTarget { repo, commit: commit.map(str::to_owned), wants_digest }),
        Ok(_) => Err("the commit is missing".into()),
        Err(error) => Err(format!("{error}; write OWNER/REPO, OWNER/REPO@COMMIT, OWNER/REPO:COMMIT or @COMMIT")),
    }
}

/// Names the repository, branch and commit that the user does not: those of the work tree. A detached HEAD is built as a
/// commit.
async fn guess(
    branch: Option<String>,
    commit: Option<String>,
) -> anyhow::Result<(RepoName, Option<String>, Option<String>)> {
    let tree = pick::work_tree().await?;
    if commit.is_some() || branch.is_some() {
        return Ok((tree.repo, branch, commit));
    }
    let commit = tree.commit.filter(|_| tree.branch.is_none());
    let what = tree.branch.as_deref().or(commit.as_deref()).unwrap_or("HEAD");
    let _ = writeln!(io::stderr(), "building {} {}, as `origin` has it", tree.repo, super::plain(what));
    Ok((tree.repo, tree.branch, commit))
}

fn build_arg(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    Ok((name.into(), value.into()))
}

/// Follows a job, and writes `REPOSITORY@DIGEST` of its image as the last line on stdout. A dry run has no digest.
async fn follow_to_digest(client: &ApiClient, job: RemoteJob, json: bool) -> anyhow::Result<ExitCode> {
    let Some(job) = follow::to_end(client, job, 0, json).await? else { return Ok(ExitCode::from(INTERRUPTED)) };
    if !json {
        print_digest(&job)?;
    }
    Ok(exit_code(&job))
}

fn print_digest(job: &RemoteJob) -> io::Result<()> {
    let repository = job.image.rsplit_once(':').map_or(&*job.image, |(repository, _)| repository);
    match &job.digest {
        Some(digest) => writeln!(io::stdout(), "{}", super::plain(&format!("{repository}@{digest}"))),
        None => Ok(()),
    }
}

/// Makes the job. Without `--follow`, its id alone goes to stdout.
pub async fn run(args: BuildArgs, daemon: anyhow::Result<LocalDaemon>) -> anyhow::Result<ExitCode> {
    let BuildArgs {
        repository,
        branch,
        tag,
        image,
        dockerfile,
        context,
        keep_git_dir,
        target,
        build_args,
        platform,
        fresh,
        dry_run,
        force,
        follow,
        connection,
    } = args;
    let wants_digest = repository.as_ref().is_some_and(|target| target.wants_digest);
    let (repo, commit) = repository.map_or((None, None), |target| (target.repo, target.commit));
    let (repo, branch, commit) = match repo {
        Some(repo) => (repo, branch, commit),
        None => guess(branch, commit).await?,
    };
    let build_args = build_args.into_iter().collect();
    let client = connection.client(daemon)?;
    let fresh = fresh.into();
    let build =
        NewRemoteBuild { dockerfile, context, keep_git_dir, target, build_args, platform, image, dry_run, fresh };
    // An option asks for another image than the one that the commit may have already.
    let may_be_built = wants_digest && !force && tag.is_none() && build == NewRemoteBuild::default();
    if let (true, Some(commit)) = (may_be_built, &commit)
        && let Some(job) = built::find(&client, &repo, commit).await?
    {
        if !job.is_over() {
            return follow_to_digest(&client, job, connection.json).await;
        }
        let _ = writeln!(io::stderr(), "built already by job {}; --force builds it again", job.id);
        match connection.json {
            true => print_json(&job)?,
            false => print_digest(&job)?,
        }
        return Ok(ExitCode::SUCCESS);
    }
    let job = NewRemoteJob { owner: repo.owner().into(), repo: repo.name().into(), branch, commit, tag, build };
    let job = client.create(&job).await?;
    if wants_digest {
        return follow_to_digest(&client, job, connection.json).await;
    }
    if follow {
        return follow::follow(&client, job, 0, connection.json).await;
    }
    if connection.json {
        print_json(&job)?;
    } else {
        let _ =
            writeln!(io::stderr(), "{}\nfollow it: image-factory logs --follow {}", super::plain(&job.image), job.id);
        writeln!(io::stdout(), "{}", job.id)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_stands_behind_an_at_sign_or_a_colon() {
        let read = |text| {
            build_target(text)
                .map(|target| (target.repo.map(|repo| repo.to_string()), target.commit, target.wants_digest))
        };
        let is = |commit: Option<&str>, wants_digest| {
            Ok((Some("acme/hello".into()), commit.map(str::to_owned), wants_digest))
        };
        assert_eq!(read("acme/hello"), is(None, false));
        assert_eq!(read("acme/hello@1234"), is(Some("1234"), false));
        assert_eq!(read("acme/hello:1234"), is(Some("1234"), true));
        assert_eq!(read("@1234"), Ok((None, Some("1234".into()), false)));
        for text in ["acme", "acme/", "/hello", "acme/hello@", "acme/hello/x", "", "@", ":1234"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
