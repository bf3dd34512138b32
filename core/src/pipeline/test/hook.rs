//! HOOK: one command in a container of its own, in which the commit's files are.

use shlex::try_quote;
use zeroize::Zeroizing;

use super::TestTask;
use crate::engine::{ContainerSpec, Containers, HOOK_ENV_LABEL, KEPT_LABEL, RunContainer};
use crate::model::{FailureClass, Job, LogSink, PinnedImage, StageName, bare_name};
use crate::pipeline::activity::ActivityLog;
use crate::pipeline::failure::{JobEnd, StageFailure};
use crate::pipeline::stage::StageRunner;

/// Folder of a container that has the commit's files, and in which the command begins.
const WORKSPACE: &str = "/workspace";
/// Folder of a container that has the file of HOOK_ENV's values.
const ENV_FOLDER: &str = ".image-factory/";
/// File of HOOK_ENV's values, as a shell reads them.
const ENV_FILE: &str = ".image-factory/env";
/// Script that reads the file, empties it, and becomes the command. It needs no program but the shell.
const WITH_ENV: &str = ". /.image-factory/env; : > /.image-factory/env; exec \"$@\"";
const SHELL: &str = "/bin/sh";

/// Runs HOOK, and removes its container whatever the end is; with GARBAGE_COLLECT=0 it stays if the test came to an end of
/// its own.
pub(super) async fn run(task: TestTask<'_>, runner: &mut StageRunner) -> Result<(), JobEnd> {
    let (config, log, job) = (&task.tools.config.test, runner.log.clone(), runner.job.clone());
    log.mask(&config.env.iter().map(|(_, value)| value.clone()).collect::<Vec<_>>());
    let containers = task.engine.containers();
    let command = words(&config.hook);
    let own = || task.built.map(|built| built.id.clone()).unwrap_or_default();
    let image = config.build_image.as_ref().map_or_else(own, PinnedImage::to_string);
    let work = log.within(config.timeout, "TEST_TIMEOUT", async {
        if let Some(image) = &config.build_image {
            fetch_image(&task, image, &log).await?;
        }
        let spec = ContainerSpec {
            name: job.id.to_string(),
            image: image.clone(),
            command: config.hook.clone(),
            env: variables(&job, &task),
            working_dir: WORKSPACE.into(),
            labels: config.keep.then(|| (KEPT_LABEL.to_owned(), "1".to_owned())).into_iter().collect(),
            limits: config.limits.clone(),
            network: task.tools.config.network.clone(),
            ..Default::default()
        };
        let (container, env) = with_secrets(&task, &containers, spec, &log).await?;
        let files = env.as_deref().map(|env| [(ENV_FOLDER, 0o700, &b""[..]), (ENV_FILE, 0o600, env.as_bytes())]);
        let files = files.as_ref().map_or(&[][..], |files| &files[..]);
        container.upload_tree(task.snapshot.clone(), WORKSPACE, files, &*log).await?;
        Ok(container.run(&*log).await?.success(&command)?)
    });
    let ended = runner.stage(StageName::Test, &format!("docker run {image} {command}"), work).await;
    containers.finish(config.keep && is_result(&ended)).await;
    ended
}

/// Returns true for the end of a test that came to one by itself.
pub(super) fn is_result<T>(ended: &Result<T, JobEnd>) -> bool {
    match ended {
        Ok(_) => true,
        Err(JobEnd::Failed(_, class)) => !class.is_infrastructure(),
        Err(_) => false,
    }
}

/// Has the engine pull BUILD_IMAGE, if the engine lacks it.
pub(super) async fn fetch_image(
    task: &TestTask<'_>,
    image: &PinnedImage,
    log: &ActivityLog,
) -> Result<(), StageFailure> {
    let auth = task.tools.secrets.borrow().image_auth(Some(&task.fetched.repo), &image.image);
    task.engine.fetch_missing(image, auth.as_ref(), log).await.map_err(|error| {
        let failed = StageFailure::from(error);
        let class = if failed.class.is_infrastructure() { failed.class } else { FailureClass::Config };
        StageFailure { class, message: format!("BUILD_IMAGE={image} cannot be had: {}", failed.message), ..failed }
    })
}

/// Makes the container, and returns it with the content of its file of HOOK_ENV's values, if it gets one. With a shell
/// that reads this file, the values are no part of its configuration, because `docker inspect` shows the configuration
/// for as long as there is the container.
async fn with_secrets<'a>(
    task: &TestTask<'_>,
    containers: &'a Containers,
    spec: ContainerSpec,
    log: &ActivityLog,
) -> Result<(RunContainer<'a>, Option<Zeroizing<String>>), StageFailure> {
    let config = &task.tools.config.test;
    let secrets = &config.env;
    if secrets.is_empty() {
        return Ok((containers.create(&spec).await?, None));
    }
    let wrapper = [SHELL, "-c", WITH_ENV, "sh"].map(str::to_owned);
    let wrapped = ContainerSpec { command: wrapper.into_iter().chain(spec.command.clone()).collect(), ..spec.clone() };
    let container = containers.create(&wrapped).await?;
    if container.has(SHELL).await? {
        let lines = secrets.iter().map(|(name, value)| format!("export {name}={}\n", quoted(value)));
        return Ok((container, Some(Zeroizing::new(lines.collect::<String>()))));
    }
    let mut labels = spec.labels.clone();
    if config.keep {
        let names = secrets.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(",");
        let line = format!("The image has no {SHELL}: the container is kept with {names} in its configuration\n");
        log.write(line.as_bytes());
        labels.insert(HOOK_ENV_LABEL.into(), names);
    }
    let env = spec.env.into_iter().chain(secrets.iter().map(|(name, value)| (name.clone(), value.to_string())));
    Ok((containers.create(&ContainerSpec { env: env.collect(), labels, ..spec }).await?, None))
}

/// Returns the variables that each test has.
pub(super) fn variables(job: &Job, task: &TestTask<'_>) -> Vec<(String, String)> {
    let git_ref = task.fetched.git_ref.as_ref().map(|of| bare_name(&of.git_ref));
    let branch = git_ref.unwrap_or(&job.context.branch);
    let commit = task.commit.as_str();
    let image_id = task.built.map(|built| ("image_id", &*built.id));
    [
        ("COMPOSE_PROJECT_NAME", &*job.id.to_string()),
        ("commit", commit),
        ("short_commit", commit.get(..7).unwrap_or(commit)),
        ("branch", branch),
        ("image", &job.image),
    ]
    .into_iter()
    .chain(image_id)
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect()
}

/// Returns the command as it would be typed into a shell.
fn words(command: &[String]) -> String {
    command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ")
}

pub(super) fn quoted(text: &str) -> String {
    // Neither a setting nor a variable can have a NUL, which alone cannot be quoted.
    try_quote(text).map_or_else(|_| String::new(), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_reads_the_file_that_is_uploaded() {
        assert_eq!(WITH_ENV.matches(&format!("/{ENV_FILE};")).count(), 2);
        assert!(ENV_FILE.starts_with(ENV_FOLDER));
    }

    #[test]
    fn a_command_is_shown_as_a_shell_takes_it() {
        let command = shlex::split("make 'a b' it\\'s $x \"\"").unwrap();
        assert_eq!(command, ["make", "a b", "it's", "$x", ""]);
        assert_eq!(shlex::split(&words(&command)).unwrap(), command);
    }
}
