//! Programs that states run, supervised as the application's are: a signal ends them, and nothing of them is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::accounts;
use super::chunk::Chunk;
use super::dry_run::DryRun;
use super::run::{Outcome, Undone};
use crate::circus::{Command, Configuration, Destination, Target, Watcher};
use crate::signals::Signals;
use crate::yaml::Content;
use crate::{Place, Problem, python, supervisor};

/// Time that a command has to end after a signal.
const STOPS: Duration = Duration::from_secs(10);
/// Variables of the language, which Salt sets for each command so that messages and sorting are the same everywhere.
const LOCALE: [&str; 13] = [
    "LC_CTYPE",
    "LC_NUMERIC",
    "LC_TIME",
    "LC_COLLATE",
    "LC_MONETARY",
    "LC_MESSAGES",
    "LC_PAPER",
    "LC_NAME",
    "LC_ADDRESS",
    "LC_TELEPHONE",
    "LC_MEASUREMENT",
    "LC_IDENTIFICATION",
    "LANGUAGE",
];

/// What programs are run with.
pub struct Programs<'a> {
    /// Folder that stands for `/`.
    pub root: &'a Path,
    /// The launcher's environment.
    pub own: &'a BTreeMap<String, String>,
    pub signals: &'a Signals,
    /// Given if nothing is to be changed.
    pub dry_run: Option<DryRun>,
}

/// The options of a command.
#[derive(Debug)]
pub struct Options {
    cwd: Option<PathBuf>,
    user: Option<String>,
    shell: Option<String>,
    env: BTreeMap<String, String>,
}

impl Options {
    /// Reads the options of a state.
    ///
    /// # Errors
    /// An option has a value of another kind.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        let mut env = BTreeMap::new();
        let maps = match chunk.arg("env").map(|node| &node.content) {
            Some(Content::List(list)) => list.iter().collect(),
            Some(_) => chunk.arg("env").into_iter().collect(),
            None => Vec::new(),
        };
        for map in maps {
            let place = Place::new(&chunk.place.file, map.line);
            let pairs = map.pairs().ok_or_else(|| place.problem("`env` is wrong. Write a list of `- NAME: value`."))?;
            for (key, value) in pairs {
                env.insert(python::text(&key.value()), python::text(&value.value()));
            }
        }
        let user = chunk.text("runas")?.or(if chunk.module == "cmd" { chunk.text("user")? } else { None });
        let shell = if chunk.module == "cmd" { chunk.text("shell")? } else { None };
        Ok(Self { cwd: chunk.text("cwd")?.map(PathBuf::from), user, shell, env })
    }
}

impl Programs<'_> {
    /// Runs a line of a shell, and returns its code. A quiet one shows no output.
    ///
    /// # Errors
    /// The folder is missing, or a signal came.
    pub fn shell(&self, chunk: &Chunk, line: &str, options: &Options, quiet: bool) -> Result<u8, Undone> {
        let default = || self.own.get("SHELL").cloned().unwrap_or_else(|| "/bin/sh".into());
        let mut env = self.own.clone();
        for name in LOCALE {
            env.entry(name.to_owned()).or_insert_with(|| "C".into());
        }
        let shell = options.shell.clone().unwrap_or_else(default);
        if let Some(user) = &options.user
            && accounts::entry(self.root, "passwd", user).is_none()
        {
            let text = format!("the image has no user {user}; create it by user.present, or correct `runas`");
            return Err(Undone::Failed(text));
        }
        let home = accounts::home(self.root, options.user.as_deref().unwrap_or("0"));
        if let Some(user) = &options.user {
            let home = home.display().to_string();
            let names = [("HOME", &home), ("USER", user), ("LOGNAME", user), ("SHELL", &shell)];
            env.extend(names.map(|(name, value)| (name.to_owned(), value.clone())));
        }
        env.extend(options.env.clone());
        let cwd = match &options.cwd {
            Some(cwd) if !cwd.is_dir() => {
                let text = format!("the folder {} is missing; create it, or correct `cwd`", cwd.display());
                return Err(Undone::Failed(text));
            }
            Some(cwd) => cwd.clone(),
            None if home.is_dir() => home,
            None => "/".into(),
        };
        self.run((&chunk.id, &chunk.place), &[&shell, "-c", line], cwd, options.user.clone(), env, quiet)
    }

    fn run(
        &self,
        (name, place): (&str, &Place),
        words: &[&str],
        working_dir: PathBuf,
        user: Option<String>,
        env: BTreeMap<String, String>,
        quiet: bool,
    ) -> Result<u8, Undone> {
        let unusual = |_| Undone::Failed("the command has a zero byte".into());
        let args = shlex::try_join(words[1..].iter().copied()).map_err(unusual)?;
        let command = Command {
            cmd: shlex::try_quote(words[0]).map_err(unusual)?.into_owned(),
            args,
            shell: false,
            executable: None,
            working_dir,
            user,
            group: None,
            env,
            options: BTreeMap::new(),
        };
        let output = match quiet {
            true => Target::File { path: "/dev/null".into(), max_bytes: 0, backup_count: 0 },
            false => Target::Launcher,
        };
        let output = Destination { target: output, time_format: None };
        let watcher = Watcher {
            announces: false,
            stdout: output.clone(),
            stderr: output,
            ..Watcher::once(name, place.clone(), command, STOPS)
        };
        let configuration =
            Configuration { watchers: vec![watcher], warmup_delay: Duration::ZERO, warnings: Vec::new() };
        let ending = supervisor::run(configuration, self.signals)?;
        if ending.by_signal { Err(Undone::Signal) } else { Ok(ending.code) }
    }

    /// Runs a program that creates or changes an account.
    ///
    /// # Errors
    /// The program is missing or fails, or a signal came.
    pub fn account(&self, program: &str, mut words: Vec<String>, name: &str) -> Result<Outcome, Undone> {
        if self.dry_run.is_some() {
            return Ok(Outcome::changed());
        }
        let path = self.own.get("PATH").map_or("/usr/sbin:/usr/bin:/sbin:/bin", String::as_str);
        let folders = std::env::split_paths(path).chain(["/usr/sbin".into(), "/sbin".into()]);
        let Some(file) = folders.map(|folder: PathBuf| folder.join(program)).find(|file| file.is_file()) else {
            return Err(Undone::Failed(format!("the image has no {program}; create the account in the Dockerfile")));
        };
        if self.root != Path::new("/") {
            words.splice(0..0, ["--prefix".to_owned(), self.root.display().to_string()]);
        }
        let file = file.display().to_string();
        let words: Vec<&str> =
            std::iter::once(file.as_str()).chain(words.iter().map(String::as_str)).chain([name]).collect();
        match self.run(
            (program, &Place::new(Path::new(&file), 1)),
            &words,
            "/".into(),
            None,
            self.own.clone(),
            false,
        )? {
            0 => Ok(Outcome::changed()),
            code => Err(Undone::Failed(format!("{program} ended with {code}"))),
        }
    }
}
