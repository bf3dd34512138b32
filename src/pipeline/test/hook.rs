//! HOOK: one command in a container of its own, in which the commit's files are.

use shlex::try_quote;

use super::TestTask;
use crate::engine::{ContainerSpec, Containers, HOOK_ENV_LABEL, KEPT_LABEL, RunContainer};
use crate::model::{FailureClass, Job, LogSink, PinnedImage, StageName, bare_name};
use crate::pipeline::activity::ActivityLog;
use crate::pipeline::build::ImageToPush;
use crate::pipeline::clone::Fetched;
use crate::pipeline::failure::{JobEnd, StageFailure};
use crate::pipeline::stage::StageRunner;

/// Folder of a container that has the commit's files, and in which the command begins.
const WORKSPACE: &str = "/workspace";
/// Folder of a container that has the file of HOOK_ENV's values.
const ENV_FOLDER: &str = ".image-factory/";
/// File of HOOK_ENV's values, as a shell reads them.
const ENV_FILE: &str = ".image-factory/env";
/// Script that reads and deletes the file, and becomes the command. A container that is started once more has no file.
const WITH_ENV: &str =
    "if [ -f /.image-factory/env ]; then . /.image-factory/env; rm -f /.image-factory/env; fi; exec \"$@\"";
const SHELL: &str = "/bin/sh";

/// Runs HOOK, and removes its container whatever the end is; with GARBAGE_COLLECT=0 it stays if the test came to an end of
/// its own.
pub(super) async fn run(task: TestTask<'_>, runner: &mut StageRunner) -> Result<(), JobEnd> {
    let (config, log, job) = (&task.tools.config.test, runner.log.clone(), runner.job.clone());
    log.mask(&config.env.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
    let containers = task.engine.containers();
    let command = words(&config.hook);
    let image = config.build_image.as_ref().map_or_else(|| task.built.id.clone(), PinnedImage::to_string);
    let work = log.within(config.timeout, "TEST_TIMEOUT", async {
        if let Some(image) = &config.build_image {
            fetch_image(&task, image, &log).await?;
        }
        let spec = ContainerSpec {
            name: job.id.to_string(),
            image: image.clone(),
            command: config.hook.clone(),
            env: variables(&job, task.fetched, task.built),
            working_dir: WORKSPACE.into(),
            labels: config.keep.then(|| (KEPT_LABEL.to_owned(), "1".to_owned())).into_iter().collect(),
            limits: config.limits.clone(),
            ..Default::default()
        };
        let container = with_secrets(&task, &containers, spec, &log).await?;
        container.upload_tree(task.snapshot.clone(), WORKSPACE, &*log).await?;
        Ok(container.run(&*log).await?.success(&command)?)
    });
    let ended = runner.stage(StageName::Test, &format!("docker run {image} {command}"), work).await;
    let is_result = match &ended {
        Ok(()) => true,
        Err(JobEnd::Failed(_, class)) => !class.is_infrastructure(),
        Err(_) => false,
    };
    containers.finish(config.keep && is_result).await;
    ended
}

/// Has the engine pull BUILD_IMAGE, if the engine lacks it.
async fn fetch_image(task: &TestTask<'_>, image: &PinnedImage, log: &ActivityLog) -> Result<(), StageFailure> {
    let auth = task.tools.secrets.borrow().image_auth(&image.image);
    task.engine.fetch_missing(image, auth.as_ref(), log).await.map_err(|error| {
        let failed = StageFailure::from(error);
        let class = if failed.class.is_infrastructure() { failed.class } else { FailureClass::Config };
        StageFailure { class, message: format!("BUILD_IMAGE={image} cannot be had: {}", failed.message), ..failed }
    })
}

/// Makes the container. HOOK_ENV's values are no part of its configuration if it has a shell that reads them from a file,
/// because the configuration is shown by `docker inspect` and stays as long as the container.
async fn with_secrets<'a>(
    task: &TestTask<'_>,
    containers: &'a Containers,
    spec: ContainerSpec,
    log: &ActivityLog,
) -> Result<RunContainer<'a>, StageFailure> {
    let config = &task.tools.config.test;
    let secrets = &config.env;
    if secrets.is_empty() {
        return Ok(containers.create(&spec).await?);
    }
    let wrapper = [SHELL, "-c", WITH_ENV, "sh"].map(str::to_owned);
    let wrapped = ContainerSpec { command: wrapper.into_iter().chain(spec.command.clone()).collect(), ..spec.clone() };
    let container = containers.create(&wrapped).await?;
    if container.has(SHELL).await? {
        let lines = secrets.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
        let file = zeroize::Zeroizing::new(lines.collect::<String>());
        container.upload_files(&[(ENV_FOLDER, 0o700, b""), (ENV_FILE, 0o600, file.as_bytes())]).await?;
        return Ok(container);
    }
    let mut labels = spec.labels.clone();
    if config.keep {
        let names = secrets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
        let line = format!("The image has no {SHELL}: the container is kept with {names} in its configuration\n");
        log.write(line.as_bytes());
        labels.insert(HOOK_ENV_LABEL.into(), names);
    }
    let env = spec.env.into_iter().chain(secrets.iter().map(|(name, value)| (name.clone(), value.to_string())));
    Ok(containers.create(&ContainerSpec { env: env.collect(), labels, ..spec }).await?)
}

/// Returns the variables that each test has.
fn variables(job: &Job, fetched: &Fetched, built: &ImageToPush) -> Vec<(String, String)> {
    let git_ref = fetched.git_ref.as_ref().map(|of| bare_name(&of.git_ref));
    let branch = git_ref.unwrap_or(&job.context.branch);
    let commit = built.commit.as_str();
    [
        ("COMPOSE_PROJECT_NAME", &*job.id.to_string()),
        ("commit", commit),
        ("short_commit", commit.get(..7).unwrap_or(commit)),
        ("branch", branch),
        ("image", &job.image),
        ("image_id", &built.id),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Returns the command as it would be typed into a shell.
fn words(command: &[String]) -> String {
    command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

fn quoted(text: &str) -> String {
    // Neither a setting nor a variable can have a NUL, which alone cannot be quoted.
    try_quote(text).map_or_else(|_| String::new(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_reads_the_file_that_is_uploaded() {
        assert_eq!(WITH_ENV.matches(&format!("/{ENV_FILE}")).count(), 3);
        assert!(ENV_FILE.starts_with(ENV_FOLDER));
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let command = shlex::split("make 'a b' it\\'s $x \"\"").unwrap();
        assert_eq!(command, ["make", "a b", "it's", "$x", ""]);
        assert_eq!(shlex::split(&words(&command)).unwrap(), command);
    }
}
