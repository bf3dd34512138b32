//! A launch: pillar, SSH keys, configuration, empty volumes, processes, in this order.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::circus::{self, Command, Configuration, Watcher};
use crate::layout::Layout;
use crate::seed::{self, Seeds};
use crate::signals::Signals;
use crate::states::{self, Summary};
use crate::supervisor::{self, Ending};
use crate::{Place, Problem, pillar, reconfigure, whole_file};

/// Time that circusd has to stop its processes, whose own times it knows.
const CIRCUSD_STOPS: Duration = Duration::from_secs(300);

/// The choices of the command line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Steps {
    pub name: Option<String>,
    pub ssh_config: bool,
    pub re_configure: bool,
    /// Merges the volume's pillar with the image's, instead of putting it in its place.
    pub merge_pillar: bool,
    /// Merges lists, too, as Salt's option `pillar_merge_lists` does.
    pub merge_lists: bool,
    /// Lists what the configuration would change, and changes and starts nothing.
    pub test: bool,
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
    place_pillar(&layout, steps)?;
    if steps.test {
        return Ok(u8::from(reconfigure::run(&layout, steps, own, signals)?.failed > 0));
    }
    if steps.ssh_config {
        let count = crate::ssh_keys::install(&layout)?;
        let keys = if count == 1 { "key" } else { "keys" };
        eprintln!("launcher | {count} {keys} of the volume may log in as root");
    }
    if steps.re_configure
        && let Some(code) = configure(&layout, steps, own, signals)?
    {
        return Ok(code);
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

/// Puts the volume's pillar in the place of the project's, or both merged.
fn place_pillar(layout: &Layout, steps: &Steps) -> Result<(), Problem> {
    let source = layout.configured_pillar();
    let mut content = match fs::read(&source) {
        Ok(content) => content,
        // Who put a link there meant a pillar, and the image's would be another one.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let lost = source.ancestors().find(|part| part.is_symlink() && !part.exists());
            return lost.map_or(Ok(()), |link| Err(Problem::lost_link(link)));
        }
        Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
            let text =
                "The pillar is a folder. Docker makes one where the file that it mounts is missing. Name that file.";
            return Err(Problem::with(&source, text));
        }
        Err(error) => return Err(Problem::with(&source, error)),
    };
    let (target, image) = (layout.pillar(), layout.image_pillar());
    let folder = layout.pillar_folder();
    fs::create_dir_all(&folder).map_err(|error| Problem::with(&folder, error))?;
    // The image's pillar is kept for the next launch, which may merge it with another one.
    if !image.exists() {
        let of_image = fs::read(&target).unwrap_or_default();
        whole_file::write(&image, 0o600, &of_image).map_err(|error| Problem::with(&image, error))?;
    }
    if steps.merge_pillar {
        let merged = reconfigure::merged_pillar(layout, steps.merge_lists)?;
        content = pillar::to_sls(&merged).into_bytes();
    }
    if fs::read(&target).is_ok_and(|old| old == content) {
        return Ok(());
    }
    // A pillar holds passwords, and Salt runs as root.
    whole_file::write(&target, 0o600, &content).map_err(|error| Problem::with(&target, error))
}

/// Configures the application by the image's Salt, or by the launcher itself. Returns a code if nothing is to follow.
fn configure(
    layout: &Layout,
    steps: &Steps,
    own: &BTreeMap<String, String>,
    signals: &Signals,
) -> Result<Option<u8>, Problem> {
    let Some(salt) = program("salt-call") else {
        let Summary { failed, by_signal, .. } = reconfigure::run(layout, steps, own, signals)?;
        return match failed {
            _ if by_signal => Ok(Some(0)),
            0 => Ok(None),
            _ => Err(Problem::new(format!("{} failed, so the application is not started.", states::count(failed)))),
        };
    };
    let mut words: Vec<String> = ["--local", "--retcode-passthrough"].map(String::from).into();
    words.extend(steps.salt_options.iter().cloned());
    words.extend(["mc_launcher.reconfigure".to_owned(), layout.name.clone()]);
    let configuration = by_program("salt-call", &salt, &words, own, Duration::from_secs(30));
    match supervisor::run(configuration, signals)? {
        Ending { by_signal: true, code } => Ok(Some(code)),
        Ending { code: 0, .. } => Ok(None),
        Ending { code, .. } => {
            let text = "so the application is not started. Its messages are above.";
            Err(Problem::new(format!("salt-call ended with {code}, {text}")))
        }
    }
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
    let watcher = Watcher::once(name, Place::new(file, 1), command, graceful_timeout);
    Configuration { watchers: vec![watcher], warmup_delay: Duration::ZERO, warnings: Vec::new() }
}
