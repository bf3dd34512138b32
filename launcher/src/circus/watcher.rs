//! The content of a section `[watcher:NAME]`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::expand;
use crate::{Place, Problem};

/// Stands for `#` while a command is split. It is no character of any text (Unicode: a noncharacter).
const NO_COMMENT: &str = "\u{fdd0}";

/// A program, and how many processes of it there are.
#[derive(Debug, Clone)]
pub struct Watcher {
    pub name: String,
    /// Line of the section.
    pub place: Place,
    pub command: Command,
    pub numprocesses: usize,
    /// Watchers of a higher priority start earlier and stop later.
    pub priority: i64,
    /// Time between the start of a process and the next one's.
    pub warmup_delay: Duration,
    pub stop_signal: i32,
    /// True if the processes that a process started get the stop signal, too.
    pub stop_children: bool,
    /// Time between the stop signal and SIGKILL.
    pub graceful_timeout: Duration,
    /// Number of starts in a row, each soon after the one before, until the watcher is given up. `None` is endless.
    pub max_retry: Option<u32>,
    /// True if a process that ends is started again.
    pub respawn: bool,
    pub autostart: bool,
    pub stdout: Destination,
    pub stderr: Destination,
    /// True if the launcher says how a process that is not started again ended.
    pub announces: bool,
}

impl Watcher {
    /// Returns the watcher of a program that runs once.
    pub fn once(name: &str, place: Place, command: Command, graceful_timeout: Duration) -> Self {
        Self {
            name: name.into(),
            place,
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
            stdout: Destination::default(),
            stderr: Destination::default(),
            announces: true,
        }
    }
}

/// A command as it is written. Its variables have other values in each process.
#[derive(Debug, Clone)]
pub struct Command {
    pub cmd: String,
    pub args: String,
    pub shell: bool,
    pub executable: Option<PathBuf>,
    pub working_dir: PathBuf,
    pub user: Option<String>,
    pub group: Option<String>,
    /// The whole environment: the launcher's own one is part of it only with `copy_env`.
    pub env: BTreeMap<String, String>,
    /// All options of the section, for `$(circus.NAME)`.
    pub options: BTreeMap<String, String>,
}

impl Command {
    /// Returns the words of the command in the process number `wid`.
    ///
    /// # Errors
    /// A quote without its end, or no word at all.
    pub fn words(&self, wid: usize) -> Result<Vec<String>, Problem> {
        let lookup = |name: &str| match name.strip_prefix("env.") {
            Some(name) => self.env.iter().find(|(key, _)| key.to_lowercase() == name).map(|(_, value)| value.clone()),
            None if name == "wid" => Some(wid.to_string()),
            None => self.options.get(name).cloned(),
        };
        let mut words = Vec::new();
        for (key, text) in [("cmd", &self.cmd), ("args", &self.args)] {
            let text = expand::variables(text, lookup);
            // Python's shlex.split knows no comments, and the library does.
            let split = shlex::split(&text.replace('#', NO_COMMENT));
            let split = split.ok_or_else(|| Problem::new(format!("`{key}` has a quote without an end: {text}")))?;
            words.extend(split.iter().map(|word| word.replace(NO_COMMENT, "#")));
        }
        if words.is_empty() {
            return Err(Problem::new("`cmd` is empty. Name the program."));
        }
        if self.shell {
            let quoted = shlex::try_join(words.iter().map(String::as_str)).unwrap_or_default();
            words = vec!["/bin/sh".into(), "-c".into(), quoted];
        }
        Ok(words)
    }
}

/// The place of a process's output, and what stands before each of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Destination {
    pub target: Target,
    /// Format of strftime(3) for the time before a line, which is followed by the process's number. `None` has neither.
    pub time_format: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Target {
    /// The launcher's own output, each line behind the watcher's name.
    #[default]
    Launcher,
    /// A file, which grows until `max_bytes` (0: without an end), and then gets the ending `.1`.
    File { path: PathBuf, max_bytes: u64, backup_count: u32 },
}
