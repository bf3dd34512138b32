use std::io::{self, Write};
use std::process::ExitCode;

use super::{Connection, Daemon, follow, print_json};
use crate::client::NewJob;

/// Build a repository's image and push it
#[derive(Debug, clap::Args)]
pub struct Args {
    /// OWNER/REPO, or OWNER/REPO@COMMIT, or OWNER/REPO:COMMIT
    #[arg(value_name = "OWNER/REPO[@COMMIT]", value_parser = what)]
    what: What,
    /// The branch or tag [default: develop]
    #[arg(long)]
    branch: Option<String>,
    /// The image's tag [default: the commit that is asked for]
    #[arg(long)]
    tag: Option<String>,
    /// Show the log until the job ends, and end with its result
    #[arg(long, short)]
    follow: bool,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Debug, Clone, PartialEq)]
struct What {
    owner: String,
    repo: String,
    commit: Option<String>,
}

fn what(text: &str) -> Result<What, String> {
    let (name, commit) = match text.split_once(['@', ':']) {
        Some((name, commit)) => (name, Some(commit)),
        None => (text, None),
    };
    match name.split_once('/') {
        Some((owner, repo)) if !owner.is_empty() && !repo.is_empty() && !repo.contains('/') && commit != Some("") => {
            Ok(What { owner: owner.into(), repo: repo.into(), commit: commit.map(str::to_owned) })
        }
        _ => Err("write OWNER/REPO, OWNER/REPO@COMMIT or OWNER/REPO:COMMIT".into()),
    }
}

/// Without `--follow` the new job's id is what goes to stdout.
pub async fn run(args: Args, daemon: anyhow::Result<Daemon>) -> anyhow::Result<ExitCode> {
    let Args { what: What { owner, repo, commit }, branch, tag, follow, connection } = args;
    let client = connection.client(daemon)?;
    let job = client.create(&NewJob { owner, repo, branch, commit, tag }).await?;
    if follow {
        return follow::follow(&client, job, connection.json).await;
    }
    if connection.json {
        print_json(&job)?;
    } else {
        let _ =
            writeln!(io::stderr(), "{}\nwatch it: image-factory logs --follow {}", super::plain(&job.image), job.id);
        writeln!(io::stdout(), "{}", job.id)?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_behind_an_at_or_a_colon() {
        let read = |text| what(text).map(|what| (what.owner, what.repo, what.commit));
        let is = |commit: Option<&str>| Ok(("acme".into(), "hello".into(), commit.map(str::to_owned)));
        assert_eq!(read("acme/hello"), is(None));
        assert_eq!(read("acme/hello@1234"), is(Some("1234")));
        assert_eq!(read("acme/hello:1234"), is(Some("1234")));
        for text in ["acme", "acme/", "/hello", "acme/hello@", "acme/hello/x", "", "@1234"] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
