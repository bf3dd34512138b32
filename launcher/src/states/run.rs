//! Carries states out, in Salt's order and under Salt's conditions, and lists what was done.

use std::path::{Path, PathBuf};

use super::accounts::{Group, User};
use super::chunk::{Chunk, Requisite};
use super::command::{Options, Programs};
use super::file::{Append, Directory, Files, Managed, Symlink};
use super::order::Plan;
use crate::Problem;
use crate::jinja::Renderer;

/// The result of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    pub succeeded: bool,
    pub changed: bool,
    /// False if a condition or a requisite kept the state from being carried out.
    ran: bool,
    /// True if `unless`, `onlyif` or `creates` says that there is nothing to do, whatever it watches.
    is_settled: bool,
}

impl Outcome {
    pub fn unchanged() -> Self {
        Self { succeeded: true, changed: false, ran: true, is_settled: false }
    }

    pub fn changed() -> Self {
        Self { changed: true, ..Self::unchanged() }
    }

    pub fn new(changed: bool) -> Self {
        Self { changed, ..Self::unchanged() }
    }

    fn skipped() -> Self {
        Self { ran: false, ..Self::unchanged() }
    }
}

/// The reason why a state was not carried out.
#[derive(Debug)]
pub enum Undone {
    /// A sentence without its subject, which is the state.
    Failed(String),
    /// The launcher was asked to stop.
    Signal,
}

impl From<Problem> for Undone {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem.to_string())
    }
}

impl From<std::io::Error> for Undone {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// What a state does, with its options read.
pub enum Action {
    Managed(Managed),
    Directory(Directory),
    Symlink(Symlink),
    Append(Append),
    Run(Options),
    Wait(Options),
    User(User),
    Group(Group),
    Nothing,
}

/// A state that can be carried out.
pub struct Step {
    pub chunk: Chunk,
    action: Action,
    unless: Vec<String>,
    onlyif: Vec<String>,
    creates: Vec<PathBuf>,
    options: Options,
}

impl Step {
    /// Reads the options of a state.
    ///
    /// # Errors
    /// An option has a value that means nothing.
    pub fn of(chunk: Chunk) -> Result<Self, Problem> {
        let action = match chunk.what().as_str() {
            "file.managed" => Action::Managed(Managed::of(&chunk)?),
            "file.directory" => Action::Directory(Directory::of(&chunk)?),
            "file.symlink" => Action::Symlink(Symlink::of(&chunk)?),
            "file.append" => Action::Append(Append::of(&chunk)?),
            "cmd.run" => Action::Run(Options::of(&chunk)?),
            "cmd.wait" => Action::Wait(Options::of(&chunk)?),
            "user.present" => Action::User(User::of(&chunk)?),
            "group.present" => Action::Group(Group::of(&chunk)?),
            _ => Action::Nothing,
        };
        let [unless, onlyif] = ["unless", "onlyif"].map(|key| chunk.texts(key));
        let creates = chunk.texts("creates")?.into_iter().map(PathBuf::from).collect();
        let options = Options::of(&chunk)?;
        if chunk.module == "file" {
            // The names are looked up when the file is written, because a state may create the account.
            for key in ["user", "group"] {
                chunk.text(key)?;
            }
        }
        Ok(Self { action, unless: unless?, onlyif: onlyif?, creates, options, chunk })
    }

    /// True if the state runs a command, which may change anything.
    pub fn is_command(&self) -> bool {
        matches!(self.action, Action::Run(_) | Action::Wait(_))
    }

    /// Checks what is certain to fail in this image.
    ///
    /// # Errors
    /// An account of the image has another number.
    pub fn check(&self, root: &Path) -> Result<(), Problem> {
        let checked = match &self.action {
            Action::User(user) => user.check(&self.chunk, root),
            Action::Group(group) => group.check(&self.chunk, root),
            _ => Ok(()),
        };
        checked.map_err(|text| {
            let what = format!("{} {}", self.chunk.what(), self.chunk.name);
            self.chunk.problem(format!("{what} cannot be carried out: {text}."))
        })
    }
}

/// What was done with all states.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub changed: usize,
    pub unchanged: usize,
    pub failed: usize,
    /// True if a signal came before the end.
    pub by_signal: bool,
}

/// Carries the states out. `say` takes a line for each.
pub fn run(
    steps: &[Step],
    plan: &Plan,
    renderer: &Renderer,
    programs: &Programs<'_>,
    say: &mut dyn FnMut(&str),
) -> Summary {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; steps.len()];
    let mut summary = Summary::default();
    for index in &plan.order {
        let step = &steps[*index];
        let needs: Vec<(Requisite, Outcome)> =
            plan.needs[*index].iter().filter_map(|(kind, other)| Some((*kind, outcomes[*other]?))).collect();
        let done = if programs.signals.stops() > 0 {
            Err(Undone::Signal)
        } else {
            carry_out(step, &needs, renderer, programs)
        };
        let (outcome, line) = match done {
            Ok(outcome) => {
                let word = match (outcome, programs.dry_run.is_some()) {
                    (Outcome { succeeded: false, .. }, _) => "not run, because what it requires failed",
                    (Outcome { changed: true, .. }, true) => "would change",
                    (Outcome { changed: true, .. }, false) => "changed",
                    (Outcome { ran: false, .. }, _) => "skipped",
                    _ => "unchanged",
                };
                (outcome, format!("{word}: {} {}", step.chunk.what(), first_line(&step.chunk.name)))
            }
            Err(Undone::Failed(text)) => {
                let failed = Outcome { succeeded: false, ..Outcome::unchanged() };
                let what = format!("{} {} failed: {text}", step.chunk.what(), first_line(&step.chunk.name));
                (failed, step.chunk.problem(what).to_string())
            }
            Err(Undone::Signal) => {
                summary.by_signal = true;
                return summary;
            }
        };
        say(&line);
        match outcome {
            Outcome { succeeded: false, .. } => summary.failed += 1,
            Outcome { changed: true, .. } => summary.changed += 1,
            _ => summary.unchanged += 1,
        }
        outcomes[*index] = Some(outcome);
    }
    summary
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Decides by the states that it waits for (`_check_requisites` of salt/state.py) whether a state is carried out.
fn carry_out(
    step: &Step,
    needs: &[(Requisite, Outcome)],
    renderer: &Renderer,
    programs: &Programs<'_>,
) -> Result<Outcome, Undone> {
    let of = |kind: Requisite| needs.iter().filter(move |(other, _)| *other == kind).map(|(_, outcome)| outcome);
    if of(Requisite::Require).chain(of(Requisite::Watch)).any(|outcome| !outcome.succeeded) {
        return Ok(Outcome { succeeded: false, ..Outcome::skipped() });
    }
    // A state waits for one of those whose failure it is for, and for a change of one of those it is for.
    let has_change = of(Requisite::Onchanges).any(|outcome| outcome.succeeded && outcome.changed);
    let lacks_failure =
        of(Requisite::Onfail).next().is_some() && of(Requisite::Onfail).all(|outcome| outcome.succeeded);
    if !has_change && (lacks_failure || of(Requisite::Onchanges).next().is_some()) {
        return Ok(Outcome::skipped());
    }
    let outcome = apply(step, false, renderer, programs)?;
    let is_woken = of(Requisite::Watch).any(|outcome| outcome.changed);
    if is_woken && !outcome.changed && !outcome.is_settled {
        return apply(step, true, renderer, programs);
    }
    Ok(outcome)
}

fn apply(step: &Step, is_woken: bool, renderer: &Renderer, programs: &Programs<'_>) -> Result<Outcome, Undone> {
    let Step { chunk, .. } = step;
    let all_succeed = |lines: &[String]| -> Result<bool, Undone> {
        for line in lines {
            if programs.shell(chunk, line, &step.options, true)? != 0 {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let is_there = !step.creates.is_empty() && step.creates.iter().all(|path| path.exists());
    if is_there || !all_succeed(&step.onlyif)? || (!step.unless.is_empty() && all_succeed(&step.unless)?) {
        return Ok(Outcome { is_settled: true, ..Outcome::skipped() });
    }
    let files = Files { root: programs.root, dry_run: programs.dry_run.as_ref() };
    match &step.action {
        Action::Managed(action) => action.apply(chunk, &files, renderer),
        Action::Directory(action) => action.apply(chunk, &files),
        Action::Symlink(action) => action.apply(chunk, &files),
        Action::Append(action) => action.apply(chunk, &files),
        Action::User(user) => user.apply(chunk, programs),
        Action::Group(group) => group.apply(chunk, programs),
        Action::Nothing => Ok(Outcome::unchanged()),
        Action::Wait(_) if !is_woken => Ok(Outcome::unchanged()),
        Action::Run(options) | Action::Wait(options) => match &programs.dry_run {
            Some(dry_run) => {
                dry_run.add_command();
                Ok(Outcome::changed())
            }
            None => match programs.shell(chunk, &chunk.name, options, false)? {
                0 => Ok(Outcome::changed()),
                code => Err(Undone::Failed(format!("the command ended with {code}"))),
            },
        },
    }
}
