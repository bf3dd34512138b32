//! A launch: pillar, SSH keys, configuration, empty volumes, processes, in this order.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::circus::{self, Command, Configuration, Destination, Watcher};
use crate::layout::Layout;
use crate::seed::{self, Seeds};
use crate::signals::Signals;
use crate::supervisor::{self, Ending};
use crate::{Place, Problem, whole_file};

/// Time that circusd has to stop its processes, whose own times it knows.
const CIRCUSD_STOPS: Duration = Duration::from_secs(300);

/// The choices of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub name: Option<String>,
    pub ssh_config: bool,
    pub re_configure: bool,
    /// Options for `salt-call`, such as `-lall`.
    pub salt_options: Vec<String>,
    /// Folders that fill empty volumes, beside those of the project.
    pub seeds: Seeds,
}

/// Carries out the steps, runs the processes to their end, and returns the exit code. `own` is the launcher's environment.
///
/// # Errors
/// A step fails. The processes are not started then.
pub fn run(root: &Path, steps: &Steps, own: &BTreeMap<String, String>, signals: &Signals) -> Result<u8, Problem> {
    let layout = Layout::find(root, steps.name.as_deref())?;
    place_pillar(&layout)?;
    if steps.ssh_config {
        let count = crate::ssh_keys::install(&layout)?;
        eprintln!("launcher | {count} keys of the volume may log in as root");
    }
    if steps.re_configure {
        match reconfigure(&layout, steps, own, signals)? {
            Ending { by_signal: true, code } => return Ok(code),
            Ending { code: 0, .. } => {}
            Ending { code, .. } => {
                let text =
                    format!("salt-call ended with {code}, so the application is not started. Its messages are above.");
                return Err(Problem::new(text));
            }
        }
    }
    if !seed::fill(&layout, &steps.seeds, signals)? || signals.stops() > 0 {
        return Ok(0);
    }
    let file = layout.circus()?;
    let configuration = match program("circusd") {
        Some(circusd) => by_program("circusd", &circusd, &[file.display().to_string()], own, CIRCUSD_STOPS),
        None => circus::read(&file, own)?,
    };
    Ok(supervisor::run(configuration, signals)?.code)
}

/// Puts the volume's pillar in the place of the project's.
fn place_pillar(layout: &Layout) -> Result<(), Problem> {
    let source = layout.configured_pillar();
    let content = match fs::read(&source) {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Problem::with(&source, error)),
    };
    let target = layout.pillar();
    if fs::read(&target).is_ok_and(|old| old == content) {
        return Ok(());
    }
    let folder = target.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(|error| Problem::with(folder, error))?;
    // A pillar holds passwords, and Salt runs as root.
    whole_file::write(&target, 0o600, &content).map_err(|error| Problem::with(&target, error))
}

/// Renders the configuration by the image's own states.
fn reconfigure(
    layout: &Layout,
    steps: &Steps,
    own: &BTreeMap<String, String>,
    signals: &Signals,
) -> Result<Ending, Problem> {
    let salt = program("salt-call").ok_or_else(|| {
        Problem::new("The image has no salt-call, which re_configure=True needs. Install Salt, or leave the step out.")
    })?;
    let mut words: Vec<String> = ["--local", "--retcode-passthrough"].map(String::from).into();
    words.extend(steps.salt_options.iter().cloned());
    words.extend(["mc_launcher.reconfigure".to_owned(), layout.name.clone()]);
    supervisor::run(by_program("salt-call", &salt, &words, own, Duration::from_secs(30)), signals)
}

/// Looks for a program in PATH.
fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Makes a configuration of one program, which runs once in the launcher's environment.
fn by_program(
    name: &str,
    file: &Path,
    words: &[String],
    own: &BTreeMap<String, String>,
    graceful_timeout: Duration,
) -> Configuration {
    let args = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
    let command = Command {
        cmd: name.into(),
        args,
        shell: false,
        executable: Some(file.into()),
        working_dir: ".".into(),
        user: None,
        group: None,
        env: own.clone(),
        options: BTreeMap::new(),
    };
    let watcher = Watcher {
        name: name.into(),
        place: Place::new(file, 1),
        command,
        numprocesses: 1,
        priority: 0,
        warmup_delay: Duration::ZERO,
        stop_signal: signal_hook::consts::SIGTERM,
        stop_children: false,
        graceful_timeout,
        max_retry: None,
        respawn: false,
        autostart: true,
        stdout: Destination::Launcher,
        stderr: Destination::Launcher,
    };
    Configuration { watchers: vec![watcher], warmup_delay: Duration::ZERO, warnings: Vec::new() }
}
