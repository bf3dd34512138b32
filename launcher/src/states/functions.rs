//! The functions that are carried out, and their options. Everything else is refused before anything is changed.

use super::chunk::Chunk;
use crate::{Place, Problem};

/// Options that every state may have, beside its requisites.
const COMMON: [&str; 7] = ["name", "order", "unless", "onlyif", "creates", "reload_modules", "reload_grains"];

const FUNCTIONS: [(&str, &[&str]); 9] = [
    (
        "file.managed",
        &[
            "source",
            "contents",
            "contents_pillar",
            "contents_newline",
            "contents_delimiter",
            "template",
            "context",
            "defaults",
            "mode",
            "user",
            "group",
            "makedirs",
            "dir_mode",
            "replace",
            "create",
            "allow_empty",
            "backup",
            "show_changes",
            "skip_verify",
            "source_hash",
        ],
    ),
    ("file.directory", &["user", "group", "mode", "dir_mode", "file_mode", "recurse", "makedirs"]),
    ("file.symlink", &["target", "force", "makedirs", "user", "group", "mode"]),
    ("file.append", &["text", "makedirs", "ignore_whitespace"]),
    ("cmd.run", &COMMAND),
    ("cmd.wait", &COMMAND),
    ("user.present", &["uid", "gid", "home", "shell", "system", "createhome", "fullname", "groups"]),
    ("group.present", &["gid", "system"]),
    // Other states wait for it, and it does nothing.
    ("test.nop", &[]),
];

const COMMAND: [&str; 10] =
    ["cwd", "runas", "user", "env", "shell", "python_shell", "use_vt", "output_loglevel", "hide_output", "use_shell"];

/// What to use in the place of a state, by the begin of its name.
const INSTEAD: [(&str, &str); 9] = [
    ("pkg.", "Install packages in the Dockerfile."),
    ("pip.", "Install packages in the Dockerfile."),
    ("git.", "Copy the code in the Dockerfile."),
    ("archive.", "Unpack archives in the Dockerfile."),
    ("service.", "List the process in circus.ini."),
    ("supervisord.", "List the process in circus.ini."),
    ("cron.", "Run a cron daemon by circus.ini."),
    ("file.", "Use file.managed, directory, symlink or append, or cmd.run."),
    ("cmd.", "Use cmd.run."),
];

/// Checks that a state is carried out here, with each of its options.
///
/// # Errors
/// The function or an option is unknown.
pub fn check(chunk: &Chunk) -> Result<(), Problem> {
    let what = chunk.what();
    let Some((_, options)) = FUNCTIONS.iter().find(|(name, _)| *name == what) else {
        let instead = INSTEAD.iter().find(|(begin, _)| what.starts_with(begin));
        let instead = instead.map_or("Use file.managed or cmd.run, or install Salt in the image.", |(_, text)| text);
        return Err(chunk.problem(format!("{what} is not carried out here. {instead}")));
    };
    match chunk.args.iter().find(|(key, _)| !options.contains(&key.as_str()) && !COMMON.contains(&key.as_str())) {
        None => Ok(()),
        Some((key, node)) => {
            let text = match key.as_str() {
                "prereq" | "listen" | "listen_in" | "prereq_in" | "use" | "use_in" | "require_any" | "watch_any"
                | "onchanges_any" | "onfail_any" | "onfail_all" => {
                    format!("`{key}` is not carried out here. Use require, watch, onchanges or onfail.")
                }
                _ => format!("`{key}` of {what} is not carried out here. Take it out, or use cmd.run."),
            };
            Err(Place::new(&chunk.place.file, node.line).problem(text))
        }
    }
}
