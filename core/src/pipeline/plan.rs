use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::Tools;
use super::failure::StageFailure;
use crate::logs::{SECRET_DOCKERFILE, arguments_with_secrets, has_secret, secret_argument};
use crate::model::{ContextPath, Dialect, DockerfilePath, FailureClass, Job, JobSource, Pull};
use crate::secrets::Secrets;

/// The files and the options with which a job's image is built.
#[derive(Debug)]
pub(super) struct Plan {
    pub dockerfile: DockerfilePath,
    /// False for a job that is tested by compose, which may build nothing, or the images of services alone.
    pub needs_dockerfile: bool,
    /// False once the commit turns out to have no such file, so that the job has no image of its own.
    pub has_dockerfile: bool,
    pub context: ContextPath,
    /// True if the context has `.git`.
    pub keep_git_dir: bool,
    pub target: Option<String>,
    pub build_args: BTreeMap<String, String>,
    pub platform: Option<String>,
    /// True if base images that the engine has are looked up in their registries.
    pub pull: bool,
    /// True if every step runs anew.
    pub no_cache: bool,
    /// True if the context is a project of the makina-states convention whose image may have ACLs or extended attributes.
    pub may_have_attributes: bool,
    /// True if nothing is pushed.
    pub dry_run: bool,
    /// Limits of each step.
    pub limits: BTreeMap<String, String>,
}

impl Plan {
    /// Returns the plan of a job, with the settings' defaults. The job was checked when it was made, and is checked here
    /// again, because a stored job may be older than a rule or than a secret.
    pub fn new(tools: &Tools, secrets: &Secrets, job: &Job) -> Result<Self, StageFailure> {
        let options = job.context.build_options().map_err(|bad| {
            let bad: Vec<_> = bad.iter().map(ToString::to_string).collect();
            StageFailure::new(FailureClass::Source, bad.join("; "))
        })?;
        let refused = [tools.config.refused.borrow().to_vec(), secrets.masks(job.repo().as_ref())].concat();
        let refusal = match arguments_with_secrets(&options.build_args, &refused).first() {
            Some(name) => Some(secret_argument(name)),
            None => job.source.dockerfile().filter(|text| has_secret(text, &refused)).map(|_| SECRET_DOCKERFILE.into()),
        };
        if let Some(refusal) = refusal {
            tools.metrics.secret_refused();
            tracing::warn!(by = job.created_by, "{refusal}");
            return Err(StageFailure::new(FailureClass::Source, refusal));
        }
        // The settings are about repositories.
        let ((dockerfile, context), keep_git_dir) = match job.source {
            JobSource::Git => (
                options.paths(&tools.config.dockerfile, &tools.config.context),
                options.keeps_git_dir(tools.config.keep_git_dir),
            ),
            JobSource::Dockerfile(_) => {
                ((options.dockerfile.clone().unwrap_or_default(), ContextPath::default()), false)
            }
        };
        Ok(Self {
            dockerfile,
            needs_dockerfile: !job.dialect.has_tests() || !tools.config.test.hook.is_empty(),
            has_dockerfile: true,
            context,
            keep_git_dir,
            target: options.target,
            build_args: options.build_args,
            platform: options.platform,
            pull: options.pull.unwrap_or(tools.config.pull) == Pull::Always,
            no_cache: options.no_cache.unwrap_or_default(),
            may_have_attributes: false,
            dry_run: options.dry_run.unwrap_or(tools.config.conveyor.dry_run && job.dialect == Dialect::Conveyor),
            limits: options.limits,
        })
    }

    /// Takes the Dockerfile that the commit has, if it has one.
    pub fn set_dockerfile(&mut self, found: Option<DockerfilePath>) {
        self.has_dockerfile = found.is_some();
        if let Some(found) = found {
            self.dockerfile = found;
        }
    }

    /// Returns a text of the choices that distinguish one image of a commit from the commit's other images. It has the names
    /// of arguments, and a hash of their values.
    pub fn recipe(&self) -> String {
        let mut recipe = self.dockerfile.to_string();
        if !self.context.is_root() {
            recipe += &format!(", context {}", self.context);
        }
        for (option, value) in [("target", &self.target), ("platform", &self.platform)] {
            recipe.extend(value.iter().map(|value| format!(", {option} {value}")));
        }
        if self.keep_git_dir {
            recipe += ", with .git";
        }
        if !self.build_args.is_empty() {
            let mut hash = Sha256::new();
            for text in self.build_args.iter().flat_map(|(name, value)| [name, value]) {
                hash.update(text);
                hash.update([0]);
            }
            let names = self.build_args.keys().map(String::as_str).collect::<Vec<_>>().join(" ");
            recipe += &format!(", buildArgs {names} ({})", hex::encode(&hash.finalize()[..4]));
        }
        recipe
    }

    /// Returns the Docker command for the same build. It has the names of arguments, and none of their values.
    pub fn command(&self, image: &str) -> String {
        let mut command = format!("docker build -t {image}");
        // Docker looks for a file of this name in the context without `-f`.
        let is_default =
            DockerfilePath::new("Dockerfile").is_ok_and(|name| self.context.join(&name) == self.dockerfile);
        if !is_default {
            command += &format!(" -f {}", self.dockerfile);
        }
        for (flag, is_set) in [(" --pull", self.pull), (" --no-cache", self.no_cache)] {
            command += if is_set { flag } else { "" };
        }
        for (flag, value) in [("--target", &self.target), ("--platform", &self.platform)] {
            command.extend(value.iter().map(|value| format!(" {flag} {value}")));
        }
        command.extend(self.build_args.keys().map(|name| format!(" --build-arg {name}")));
        command + " ./" + self.context.as_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipe_distinguishes_the_images_of_one_commit() {
        let plan = |target: Option<&str>, platform: Option<&str>, args: &[(&str, &str)]| Plan {
            dockerfile: DockerfilePath::new("docker/web").unwrap(),
            needs_dockerfile: true,
            has_dockerfile: true,
            context: ContextPath::default(),
            keep_git_dir: false,
            target: target.map(str::to_owned),
            build_args: args.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            platform: platform.map(str::to_owned),
            pull: false,
            no_cache: false,
            may_have_attributes: false,
            dry_run: false,
            limits: BTreeMap::new(),
        };
        assert_eq!(plan(None, None, &[]).recipe(), "docker/web");
        let all = plan(Some("test"), Some("linux/arm64"), &[("A", "1"), ("B", "secret")]).recipe();
        insta::assert_snapshot!(all, @"docker/web, target test, platform linux/arm64, buildArgs A B (bb7e25ef)");
        assert_ne!(plan(None, None, &[("A", "1")]).recipe(), plan(None, None, &[("A", "2")]).recipe());
        assert_ne!(plan(None, None, &[("A", "1")]).recipe(), plan(None, None, &[("A1", "")]).recipe());
    }
}
