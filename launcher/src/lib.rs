//! The launcher of the makina-states convention: configures the application of an image, and runs its processes.
//!
//! docs/launcher.md is the manual. Nothing here knows an engine, TLS or HTTP, because an application's image carries
//! the program.

mod circus;
mod command_line;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grains;
mod jinja;
mod json;
mod launch;
mod layout;
mod pillar;
mod problem;
mod python;
mod reconfigure;
mod roots;
pub mod scaffold;
mod seed;
mod signals;
mod sls;
mod ssh_keys;
mod states;
mod supervisor;
mod whole_file;
mod yaml;

use std::ffi::OsString;
use std::process::ExitCode;

pub use problem::{Place, Problem};

/// Runs a subcommand and returns the exit code of the process. `program` is the name that messages and the usage show,
/// `args` the words after it.
pub fn run(program: &str, args: impl Iterator<Item = OsString>) -> ExitCode {
    command_line::run(program, args)
}
