//! The states of a project, carried out without Salt: what `salt-call` would do with the functions that such projects use.
//!
//! Source: salt 3008.4 (salt/state.py, salt/utils/requisite.py, salt/states/). Everything is read and checked before
//! anything is changed. A state that fails lets those that do not wait for it go on, as in Salt, and fails the launch.

mod accounts;
mod chunk;
mod command;
mod dry_run;
mod file;
mod functions;
mod order;
mod read;
mod run;

use crate::Problem;
use crate::jinja::Renderer;
use crate::layout::Layout;
use crate::sls;
pub use command::Programs;
pub use dry_run::DryRun;
use run::Step;
pub use run::Summary;

/// Reads the project's states and carries them out. `say` takes a line for each.
///
/// They are those of `.salt/top.sls`, or without that file those whose names begin with a digit, such as
/// `.salt/200_reconfigure.sls`, in the order of their names.
///
/// # Errors
/// The project has no states, a file does not render, or a state is not carried out here. Nothing was changed then.
pub fn apply(
    layout: &Layout,
    renderer: &Renderer,
    programs: &Programs<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Summary, Problem> {
    let names = match sls::top(renderer, "states")? {
        Some(names) => names,
        None => numbered(layout)?,
    };
    let chunks = read::read(renderer, &names)?;
    let plan = order::plan(&chunks)?;
    let steps = chunks.into_iter().map(Step::of).collect::<Result<Vec<_>, _>>()?;
    // Behind a command nothing is certain, because it may change accounts.
    let certain = plan.order.iter().map(|index| &steps[*index]).take_while(|step| !step.is_command());
    certain.into_iter().try_for_each(|step| step.check(programs.root))?;
    Ok(run::run(&steps, &plan, renderer, programs, say))
}

/// Reads the states of a rendered file, and sorts them.
#[cfg(fuzzing)]
pub fn check(renderer: &Renderer, node: &crate::yaml::Node) -> Result<(), Problem> {
    let chunks = read::read_text(renderer, node)?;
    order::plan(&chunks)?;
    chunks.into_iter().try_for_each(|chunk| Step::of(chunk).map(drop))
}

/// Returns `1 state`, or `2 states`.
pub fn count(number: usize) -> String {
    format!("{number} {}", if number == 1 { "state" } else { "states" })
}

/// Returns the names of the project's files of states that begin with a digit.
fn numbered(layout: &Layout) -> Result<Vec<String>, Problem> {
    let folder = layout.states();
    let entries = match folder.read_dir() {
        Ok(entries) => Some(entries),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Problem::with(&folder, error)),
    };
    let names = entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let is_state = |name: &String| name.starts_with(|c: char| c.is_ascii_digit());
    let mut names: Vec<String> =
        names.filter_map(|name| Some(name.strip_suffix(".sls")?.to_owned())).filter(is_state).collect();
    if names.is_empty() {
        return Err(Problem::with(&folder, "There are no states. Write them to a file such as 200_reconfigure.sls."));
    }
    names.sort();
    Ok(names)
}
