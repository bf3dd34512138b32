use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;

use futures_util::StreamExt;

use super::{SettingsFiles, colored, colors_on, plain, print_json};
use crate::app;
use crate::app::doctor::{self, Finding, FindingStatus, ProbedRepo};
use crate::model::{GitRef, RepoName};
use crate::settings::Flags;

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
    #[command(flatten)]
    flags: Flags,
}

/// Runs the checks. Returns failure if something is BAD.
pub async fn run(args: DoctorArgs, files: SettingsFiles) -> anyhow::Result<ExitCode> {
    let mut loaded = files.source(args.flags).load();
    let typed = loaded.settings().ok().cloned();
    loaded.check(app::check);
    let mut report = Report { json: args.json, found: Vec::new() };
    for finding in doctor::settings(&loaded) {
        report.add(finding)?;
    }
    // Every other check needs settings of the right types.
    if let Some(settings) = typed {
        let probed = args.repo.map(|repo| ProbedRepo { repo, branch: args.branch });
        let mut findings = pin!(doctor::examine(settings, probed));
        while let Some(finding) = findings.next().await {
            report.add(finding)?;
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
