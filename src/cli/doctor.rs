use std::io::{self, Write};
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;

use super::{colored, colors_on, plain, print_json};
use crate::app::doctor::{self, Finding, FindingStatus, ProbedRepo};
use crate::model::{GitRef, RepoName};
use crate::settings::{Flags, Settings};

/// Check everything that a build needs, and say what to do where something is wrong
#[derive(clap::Args)]
pub struct DoctorArgs {
    /// Check whether this repository can be fetched and its image pushed
    #[arg(long, value_name = "OWNER/REPO", value_parser = RepoName::parse)]
    repo: Option<RepoName>,
    /// Check that this branch or tag exists, without fetching it [default: only check that the repository can be read]
    #[arg(long, value_name = "BRANCH", requires = "repo", value_parser = GitRef::new)]
    branch: Option<GitRef>,
    /// Write JSON: an array of {check, status, message}
    #[arg(long)]
    json: bool,
    /// File of settings instead of /etc/image-factory/image-factory.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags,
}

/// Runs the checks. Returns failure if something is BAD.
pub async fn run(args: DoctorArgs) -> anyhow::Result<ExitCode> {
    let settings = Settings::load(&args.flags, args.config.as_deref(), |name| std::env::var(name).ok());
    let mut report = Report { json: args.json, found: Vec::new() };
    match settings {
        // Every other check needs the settings.
        Err(errors) => {
            for error in errors {
                report.add(Finding::bad(doctor::SETTINGS, error.to_string()))?;
            }
        }
        Ok(settings) => {
            report.add(doctor::settings(&settings))?;
            let probed = args.repo.map(|repo| ProbedRepo { repo, branch: args.branch });
            let mut findings = pin!(doctor::examine(settings, probed));
            while let Some(finding) = findings.next().await {
                report.add(finding)?;
            }
        }
    }
    report.end()
}

struct Report {
    json: bool,
    found: Vec<Finding>,
}

impl Report {
    fn add(&mut self, finding: Finding) -> io::Result<()> {
        if !self.json {
            let mut out = io::stdout().lock();
            let (word, state) = match finding.status {
                FindingStatus::Ok => ("ok  ", "success"),
                FindingStatus::Warn => ("warn", "running"),
                FindingStatus::Bad => ("BAD ", "failure"),
            };
            let word = colored(word, state, colors_on(&out));
            writeln!(out, "{word} {}: {}", finding.check, plain(&finding.message))?;
            out.flush()?;
        }
        self.found.push(finding);
        Ok(())
    }

    fn end(self) -> anyhow::Result<ExitCode> {
        if self.json {
            print_json(&self.found)?;
        }
        let is_bad = self.found.iter().any(|finding| finding.status == FindingStatus::Bad);
        Ok(if is_bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }
}
