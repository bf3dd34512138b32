use std::collections::BTreeMap;

use super::Tools;
use super::clone::Fetched;
use super::stage::Failed;
use crate::logs::secret_finder;
use crate::model::{Context, ContextPath, DockerfilePath, FailureClass};
use crate::secrets::Secrets;

/// How a job's image is built.
#[derive(Debug)]
pub(super) struct Plan {
    pub dockerfile: DockerfilePath,
    pub context: ContextPath,
    /// `.git` is to be in the context.
    pub keep_git_dir: bool,
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub platform: Option<String>,
}

impl Plan {
    /// What the job says, with the settings' defaults. It was checked when the job was made, but what is stored may be
    /// older than a rule, or than a secret.
    pub fn of(tools: &Tools, secrets: &Secrets, context: &Context) -> Result<Self, Failed> {
        let options = context.build_options().map_err(|bad| {
            let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
            Failed::new(FailureClass::Source, bad.join("; "))
        })?;
        let masks = [tools.config.masks.clone(), secrets.masks()].concat();
        let has_secret = secret_finder(&masks);
        if let Some((name, _)) = options.build_args.iter().find(|(_, value)| has_secret(value)) {
            return Err(Failed::new(
                FailureClass::Source,
                format!(
                    "buildArgs/{name} has a secret of this daemon in it, and everyone who has the image could read it there"
                ),
            ));
        }
        let (dockerfile, context) = options.paths(&tools.config.dockerfile, &tools.config.context);
        let keep_git_dir = options.keeps_git_dir(tools.config.keep_git_dir);
        Ok(Self {
            dockerfile,
            context,
            keep_git_dir,
            target: options.target,
            build_args: options.build_args,
            platform: options.platform,
        })
    }

    /// The command that would do the same; of arguments only the names.
    pub fn command(&self, image: &str) -> String {
        let mut command = format!("docker build -t {image}");
        // Docker looks for a file of this name in the context.
        let is_default =
            DockerfilePath::new("Dockerfile").is_ok_and(|name| self.context.join(&name) == self.dockerfile);
        if !is_default {
            command += &format!(" -f {}", self.dockerfile);
        }
        for (flag, value) in [("--target", &self.target), ("--platform", &self.platform)] {
            command.extend(value.iter().map(|value| format!(" {flag} {value}")));
        }
        command.extend(self.build_args.keys().map(|name| format!(" --build-arg {name}")));
        command + " ./" + self.context.as_str()
    }
}

impl Fetched {
    /// One synced context in the engine per repository, Dockerfile, target and context, with `.git` or without: these
    /// decide which files the engine wants, and what it does not want it forgets. The table of file times is the repository's alone: a cache mount
    /// may be shared by all of its Dockerfiles and targets.
    pub fn sync_key(&self) -> String {
        let target = self.plan.target.as_deref().unwrap_or_default();
        let mut key = format!("{}\n{}\n{target}", self.repo, self.plan.dockerfile);
        if !self.plan.context.is_root() {
            key += &format!("\n{}", self.plan.context);
        }
        if self.plan.keep_git_dir {
            key += "\n.git\n";
        }
        key
    }
}
