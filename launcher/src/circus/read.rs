//! Makes watchers of the sections.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::expand;
use super::ini::{self, IniOption, Section};
use super::options::{self, KNOWN, REFUSED, SILENT};
use super::watcher::{Command, Destination, Target, Watcher};
use crate::{Place, Problem};

/// Largest number of processes of a watcher. A mistyped one would take all process numbers of the machine.
const MOST_PROCESSES: usize = 1000;

/// The content of a file.
#[derive(Debug)]
pub struct Configuration {
    /// The watchers in the order in which they start.
    pub watchers: Vec<Watcher>,
    /// Time between the start of a watcher and the next one's.
    pub warmup_delay: Duration,
    /// The parts of the file that have no effect, as sentences.
    pub warnings: Vec<String>,
}

/// Reads a `circus.ini`. `own` is the launcher's environment.
///
/// # Errors
/// A file that cannot be read, a value that means nothing, or an option that cannot be left out without a difference.
pub fn read(file: &Path, own: &BTreeMap<String, String>) -> Result<Configuration, Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::with(file, error))?;
    configuration(file, &text, own)
}

fn configuration(file: &Path, text: &str, own: &BTreeMap<String, String>) -> Result<Configuration, Problem> {
    let mut sections = ini::read(file, text)?;
    let mut warnings = Vec::new();
    let mut shared = BTreeMap::new();
    for option in sections.iter().filter(|section| section.name == "env").flat_map(|section| &section.options) {
        shared.insert(option.key.clone(), option.value.clone());
    }
    let mut variables = own.clone();
    variables.extend(shared.clone());
    for section in sections.iter_mut().filter(|section| !section.name.starts_with("env:")) {
        // The others are read with the watcher's own environment.
        let is_watcher = section.name.starts_with("watcher:");
        for option in section.options.iter_mut().filter(|option| !is_watcher || options::is_early(&option.key)) {
            option.value = with_environment(&option.value, &variables);
        }
    }
    let mut configuration = Configuration { watchers: Vec::new(), warmup_delay: Duration::ZERO, warnings: Vec::new() };
    for section in &sections {
        match section.name.split_once(':').unwrap_or((&section.name, "")) {
            ("env", _) => {}
            ("circus", "") => configuration.warmup_delay = main_section(section, &mut warnings)?,
            ("watcher", name) if !name.is_empty() => {
                let watcher = Reader { section, warnings: &mut warnings }.watcher(name, &sections, &shared, own)?;
                configuration.watchers.push(watcher);
            }
            ("socket", _) => {
                return Err(section
                    .place
                    .problem("Sockets are not opened here. Let the process open its socket itself."));
            }
            ("plugin", _) => return Err(section.place.problem("Plugins are not run here. Take the section out.")),
            _ => warnings.push(section.place.problem("The section is unknown and has no effect.").to_string()),
        }
    }
    if configuration.watchers.is_empty() {
        return Err(Problem::with(file, "The file has no watcher. Write a section [watcher:NAME] with a `cmd`."));
    }
    if !configuration.watchers.iter().any(|watcher| watcher.autostart && watcher.numprocesses > 0) {
        let text = "Nothing starts, because each watcher has `numprocesses = 0` or `autostart = False`. Change one.";
        return Err(Problem::with(file, text));
    }
    configuration.watchers.sort_by(|a, b| (b.priority, &a.name).cmp(&(a.priority, &b.name)));
    configuration.warnings = warnings;
    Ok(configuration)
}

/// Reads `[circus]`, and returns its `warmup_delay`. The rest concerns circusctl and plugins, which are not here.
fn main_section(section: &Section, warnings: &mut Vec<String>) -> Result<Duration, Problem> {
    let mut delay = Duration::ZERO;
    for option in &section.options {
        match option.key.as_str() {
            "warmup_delay" => {
                delay = options::seconds(&option.value).ok_or_else(|| unreadable(option, "a number of seconds"))?;
            }
            "include" | "include_dir" => {
                return Err(option.place.problem("Other files are not included. Put their sections into this one."));
            }
            "umask" => return Err(option.place.problem("`umask` is not set here. Set it in the command.")),
            "check_delay" | "debug" | "debug_gc" | "loglevel" | "logoutput" | "loggerconfig" | "pidfile" => {}
            key if key.ends_with("endpoint") || key == "endpoint_owner" || key == "fqdn_prefix" => {}
            key => warnings.push(option.place.problem(format!("`{key}` has no effect here.")).to_string()),
        }
    }
    Ok(delay)
}

fn unreadable(option: &IniOption, expected: &str) -> Problem {
    option.place.problem(format!("`{}` is `{}`. Write {expected}.", option.key, option.value))
}

fn with_environment(value: &str, variables: &BTreeMap<String, String>) -> String {
    expand::variables(value, |name| {
        let name = name.strip_prefix("env.")?;
        variables.iter().find(|(key, _)| key.to_lowercase() == name).map(|(_, value)| value.clone())
    })
}

struct Reader<'a> {
    section: &'a Section,
    warnings: &'a mut Vec<String>,
}

impl Reader<'_> {
    fn watcher(
        mut self,
        name: &str,
        sections: &[Section],
        shared: &BTreeMap<String, String>,
        own: &BTreeMap<String, String>,
    ) -> Result<Watcher, Problem> {
        self.check_options()?;
        let mut env = if self.boolean("copy_env", false)? { own.clone() } else { BTreeMap::new() };
        env.extend(shared.clone());
        let is_own = |section: &&Section| {
            let patterns = section.name.strip_prefix("env:").unwrap_or_default();
            patterns.split(',').any(|pattern| matches(pattern.trim(), name))
        };
        for option in sections.iter().filter(is_own).flat_map(|section| &section.options) {
            env.insert(option.key.clone(), option.value.clone());
        }
        // A command gets the values as they are written.
        let mut all = own.clone();
        all.extend(env.clone());
        for (key, value) in &mut env {
            if own.get(key) != Some(value) {
                *value = expand::environment(value, |name| own.get(name).cloned()).map_err(|missing| {
                    self.section.place.problem(format!("`{key}` names the variable {missing}, which is not set."))
                })?;
            }
        }
        let mut options: BTreeMap<_, _> =
            self.section.options.iter().map(|o| (o.key.to_lowercase(), o.value.clone())).collect();
        options.values_mut().for_each(|value| *value = with_environment(value, &all));
        for (key, default) in [("numprocesses", "1"), ("priority", "0")] {
            options.entry(key.into()).or_insert_with(|| default.into());
        }
        let text = |key: &str| options.get(key).filter(|value| !value.is_empty()).cloned();
        let command = Command {
            cmd: text("cmd")
                .ok_or_else(|| self.section.place.problem("The watcher has no `cmd`. Name its program."))?,
            args: text("args").unwrap_or_default(),
            shell: self.boolean("shell", false)?,
            executable: text("executable").map(PathBuf::from),
            working_dir: text("working_dir").map_or_else(|| ".".into(), PathBuf::from),
            user: text("uid"),
            group: text("gid"),
            env,
            options: options.clone(),
        };
        let max_retry: i64 = self.number("max_retry", 5)?;
        Ok(Watcher {
            name: name.into(),
            place: self.section.place.clone(),
            command,
            numprocesses: self.processes(name)?,
            priority: self.number("priority", 0)?,
            warmup_delay: self.seconds("warmup_delay", 0)?,
            stop_signal: self.read("stop_signal", 15, "a signal like TERM", options::signal)?,
            stop_children: self.boolean("stop_children", false)?,
            graceful_timeout: self.seconds("graceful_timeout", 30)?,
            max_retry: u32::try_from(max_retry).ok(),
            respawn: self.boolean("respawn", true)?,
            autostart: self.boolean("autostart", true)?,
            stdout: self.destination("stdout_stream", &options)?,
            stderr: self.destination("stderr_stream", &options)?,
            announces: true,
        })
    }

    /// Warns of options that have no effect.
    ///
    /// # Errors
    /// An option whose effect the application would miss.
    fn check_options(&mut self) -> Result<(), Problem> {
        for option in &self.section.options {
            let key = option.key.as_str();
            let is_stream = key.starts_with("stdout_stream.") || key.starts_with("stderr_stream.");
            if let Some((_, instead)) = REFUSED.iter().find(|(begin, _)| key.starts_with(begin))
                && options::boolean(&option.value) != Some(false)
            {
                return Err(option.place.problem(format!("`{key}` is not carried out here. {instead}")));
            } else if !is_stream && ![KNOWN, SILENT].concat().contains(&key) {
                let text = format!("`{key}` is no option of a watcher and has no effect but as $(circus.{key}).");
                self.warnings.push(option.place.problem(text).to_string());
            }
        }
        Ok(())
    }

    fn read<T>(&self, key: &str, default: T, expected: &str, read: impl Fn(&str) -> Option<T>) -> Result<T, Problem> {
        match self.section.options.iter().find(|option| option.key == key) {
            Some(option) => read(&option.value).ok_or_else(|| unreadable(option, expected)),
            None => Ok(default),
        }
    }

    fn boolean(&self, key: &str, default: bool) -> Result<bool, Problem> {
        self.read(key, default, "True or False", options::boolean)
    }

    fn number(&self, key: &str, default: i64) -> Result<i64, Problem> {
        self.read(key, default, "a whole number", |value| value.trim().parse().ok())
    }

    fn seconds(&self, key: &str, default: u64) -> Result<Duration, Problem> {
        self.read(key, Duration::from_secs(default), "a number of seconds", options::seconds)
    }

    fn processes(&mut self, name: &str) -> Result<usize, Problem> {
        let most = if self.boolean("singleton", false)? { 1 } else { MOST_PROCESSES };
        let is_possible = |value: &str| value.trim().parse().ok().filter(|number| *number <= most);
        let number = self.read("numprocesses", 1, &format!("a number up to {most}"), is_possible)?;
        if number == 0 {
            let option = self.section.options.iter().find(|option| option.key == "numprocesses");
            let place = option.map_or(&self.section.place, |option| &option.place);
            self.warnings.push(place.problem(format!("{name} starts no process by `numprocesses = 0`.")).to_string());
        }
        Ok(number)
    }

    fn destination(&mut self, stream: &str, options: &BTreeMap<String, String>) -> Result<Destination, Problem> {
        let get = |key: &str| options.get(&format!("{stream}.{key}")).map(String::as_str);
        let place = |key: &str| -> &Place {
            let option = self.section.options.iter().find(|option| option.key == format!("{stream}.{key}"));
            option.map_or(&self.section.place, |option| &option.place)
        };
        let count = |key: &str| match get(key) {
            Some(value) => {
                let text = format!("`{stream}.{key}` is `{value}`. Write a whole number.");
                value.trim().parse::<u64>().map_err(|_| place(key).problem(text))
            }
            None => Ok(0),
        };
        let mut time_format = get("time_format").map(str::to_owned);
        let target = match (get("class").map(|class| class.rsplit('.').next().unwrap_or(class)), get("filename")) {
            (None | Some("FileStream" | "WatchedFileStream"), Some(path)) => Target::File {
                path: path.into(),
                max_bytes: count("max_bytes")?,
                backup_count: u32::try_from(count("backup_count")?).unwrap_or(u32::MAX),
            },
            // Neither of the two has a time in circus.
            (None | Some("StdoutStream"), None) => return Ok(Destination::default()),
            (Some("FancyStdoutStream"), None) => {
                time_format.get_or_insert_with(|| "%Y-%m-%d %H:%M:%S".to_owned());
                Target::Launcher
            }
            (Some("FileStream" | "WatchedFileStream"), None) => {
                return Err(place("class").problem(format!("The file is missing. Name it by `{stream}.filename`.")));
            }
            (Some(class), _) => {
                let text = format!("The class {class} is unknown. Use StdoutStream or FileStream.");
                return Err(place("class").problem(text));
            }
        };
        Ok(Destination { target, time_format })
    }
}

/// True if a name is what a pattern with `*` and `?` means.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut chars = pattern.chars();
    match chars.next() {
        None => name.is_empty(),
        Some('*') => {
            name.char_indices().map(|(at, _)| at).chain([name.len()]).any(|at| matches(chars.as_str(), &name[at..]))
        }
        Some(first) => {
            let mut rest = name.chars();
            rest.next().is_some_and(|c| first == '?' || first == c) && matches(chars.as_str(), rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_are_in_the_order_of_their_start() {
        let text = "[watcher:b]\ncmd=x\n[watcher:a]\ncmd=x\n[watcher:z]\ncmd=x\npriority=1\n[circus]\nwarmup_delay=2\nhttpd=1\n";
        let read = configuration(Path::new("c.ini"), text, &BTreeMap::new()).unwrap();
        assert_eq!(read.watchers.iter().map(|watcher| &*watcher.name).collect::<Vec<_>>(), ["z", "a", "b"]);
        assert_eq!(read.warmup_delay, Duration::from_secs(2));
        assert_eq!(read.warnings, ["c.ini:10: `httpd` has no effect here."]);
    }

    #[test]
    fn sections_of_an_environment_name_watchers_by_patterns() {
        for (pattern, name, expected) in
            [("a*", "abc", true), ("a?c", "abc", true), ("*", "", true), ("a", "abc", false), ("*b", "abc", false)]
        {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }
}
