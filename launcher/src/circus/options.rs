//! Which options there are, and what happens to those that have no effect here.

use crate::signals;

/// Options of a watcher that are carried out.
pub const KNOWN: &[&str] = &[
    "args",
    "autostart",
    "cmd",
    "copy_env",
    "executable",
    "gid",
    "graceful_timeout",
    "max_retry",
    "numprocesses",
    "priority",
    "respawn",
    "shell",
    "singleton",
    "stop_children",
    "stop_signal",
    "uid",
    "warmup_delay",
    "working_dir",
];

/// True for an option of a watcher that knows the launcher's environment and `[env]`, but no `[env:NAME]` (`dget` of
/// circus/config.py).
pub fn is_early(key: &str) -> bool {
    KNOWN.contains(&key) && !["args", "cmd", "gid", "stop_signal", "uid", "working_dir"].contains(&key)
}

/// Options without an effect that anyone could miss: they concern circusctl, or restate what is the case in any event.
pub const SILENT: &[&str] =
    &["check_flapping", "close_child_stderr", "close_child_stdin", "close_child_stdout", "send_hup", "stdin_socket"];

/// Beginnings of options that change what runs, and what to use instead.
pub const REFUSED: &[(&str, &str)] = &[
    ("copy_path", "Set PYTHONPATH in a section [env:NAME]."),
    ("hooks.", "Put the step into the command, as a script."),
    ("max_age", "Restart the process by a cron job."),
    ("on_demand", "Take the option out, so that the process starts at once."),
    ("rlimit_", "Begin the command with `prlimit`."),
    ("use_sockets", "Let the process open its socket itself."),
    ("virtualenv", "Name the program by its path in the virtual environment."),
];

/// Largest number of seconds, because no clock reaches any number: a hundred years and more.
const LONGEST: f64 = 4e9;

/// Reads a number of seconds, a fraction included.
pub fn seconds(value: &str) -> Option<std::time::Duration> {
    let seconds = value.trim().parse().ok().filter(|seconds| *seconds <= LONGEST)?;
    std::time::Duration::try_from_secs_f64(seconds).ok()
}

/// Reads a boolean (`to_bool` of circus/util.py).
pub fn boolean(value: &str) -> Option<bool> {
    match value.trim().to_lowercase().as_str() {
        "yes" | "true" | "on" | "1" => Some(true),
        "no" | "false" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Reads a signal: `15`, `TERM`, `SIGTERM`, or `SIGRTMIN+3`.
pub fn signal(value: &str) -> Option<i32> {
    let value = value.trim();
    if let Ok(number) = value.parse() {
        return (1..=64).contains(&number).then_some(number);
    }
    let (name, offset) = value.split_once('+').unwrap_or((value, "0"));
    let name = name.to_uppercase();
    let number = signals::number(name.strip_prefix("SIG").unwrap_or(&name))? + offset.parse::<i32>().ok()?;
    (1..=64).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_those_of_a_clock() {
        let texts = ["0.5", " 3 ", "4e9", "1e18", "inf", "nan", "-1", "x"];
        let expected = [Some(500), Some(3000), Some(4_000_000_000_000), None, None, None, None, None];
        assert_eq!(texts.map(|text| seconds(text).map(|time| time.as_millis())), expected);
    }

    #[test]
    fn signals_have_numbers_and_names() {
        let texts = ["9", "quit", "SIGTERM", "SIGRTMIN+3", "winch", "0", "99", "SIGNONE", ""];
        assert_eq!(texts.map(signal), [Some(9), Some(3), Some(15), Some(37), Some(28), None, None, None, None]);
    }
}
