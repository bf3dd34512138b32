//! Templates as Salt renders them: minijinja with Salt's tags, filters and variables, and Jinja's `StrictUndefined`.
//!
//! A template has bounds, because the pillar of a volume may be anybody's: each rendering has a number of steps and a
//! depth, and the memory of its values counts as steps.

mod dialect;
mod filters;
mod salt;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use minijinja::{AutoEscape, Environment, Error, ErrorKind, State, UndefinedBehavior, Value};

use crate::roots::{self, Roots};
use crate::{Place, Problem, python};
pub(crate) use salt::find;
use salt::{Facts, Functions};

/// Number of instructions of a template. One that writes a file of a thousand lines takes some ten thousand.
const STEPS: u64 = 1_000_000;
/// Number of templates that a template may import as data, each of which has its own steps.
const IMPORTS: usize = 20;
/// Depth of macros, imports and recursive loops, because each takes a part of the stack.
const DEEPEST: usize = 60;
/// Longest part of a template that a message shows, in bytes.
const LONGEST_SHOWN: usize = 120;
/// Largest result.
const LARGEST: usize = 8 << 20;

/// What all templates know.
#[derive(Debug, Clone)]
pub struct Renderer {
    facts: Arc<Facts>,
    roots: Arc<Roots>,
}

/// A template's text, and where its lines come from.
#[derive(Debug)]
pub struct Rendered {
    pub text: String,
    file: PathBuf,
    /// For each line the template's line.
    lines: Vec<usize>,
}

impl Rendered {
    /// Returns a text that is no template.
    pub fn verbatim(file: &Path, text: String) -> Self {
        let lines = (1..=text.lines().count()).collect();
        Self { text, file: file.into(), lines }
    }

    /// Returns the place in the template that wrote this line, which counts from 1.
    pub fn place(&self, line: usize) -> Place {
        let at = line.saturating_sub(1).min(self.lines.len().saturating_sub(1));
        Place::new(&self.file, self.lines.get(at).copied().unwrap_or(1))
    }
}

impl Renderer {
    pub fn new(pillar: Value, grains: Value, opts: Value, roots: Roots) -> Self {
        Self { facts: Arc::new(Facts { pillar, grains, opts }), roots: Arc::new(roots) }
    }

    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    pub fn pillar(&self) -> &Value {
        &self.facts.pillar
    }

    /// Renders the source of a file with further variables.
    ///
    /// # Errors
    /// What Salt refuses, too, a function or filter that is not here, or a template without bounds.
    pub fn render(&self, file: &Path, source: &str, variables: &BTreeMap<String, Value>) -> Result<Rendered, Problem> {
        let env = self.environment(variables);
        let source = dialect::translate(source);
        let name = variables.get("tplfile").map_or_else(|| file.display().to_string(), Value::to_string);
        let rendered = env.template_from_named_str(&name, &source).and_then(|template| template.render_with_spans(()));
        let (mut text, spans) = rendered.map_err(|error| self.problem(file, &name, &error))?;
        if text.len() > LARGEST {
            return Err(Problem::with(file, "The template writes too much. Make it smaller."));
        }
        // Jinja leaves the last line feed out, and Salt puts it back.
        if source.ends_with('\n') {
            text.push('\n');
        }
        let mut lines = vec![0; text.matches('\n').count() + 1];
        let mut line = 0;
        for span in spans {
            let range = span.output_range();
            let is_raw = span.kind() == minijinja::OutputSpanKind::Raw && span.name() == name;
            let mut from = if span.name() == name { span.line() } else { lines[line] };
            // The first thing on a line says where the line comes from.
            if lines[line] == 0 {
                lines[line] = from;
            }
            for _ in text[range].matches('\n') {
                from += usize::from(is_raw);
                line += 1;
                lines[line] = from;
            }
        }
        // Nothing wrote the end behind the last line feed.
        let mut last = 1;
        for line in &mut lines {
            last = if *line == 0 { last } else { *line };
            *line = last;
        }
        Ok(Rendered { text, file: file.into(), lines })
    }

    fn environment<'a>(&self, variables: &BTreeMap<String, Value>) -> Environment<'a> {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_debug(true);
        env.set_fuel(Some(STEPS));
        env.set_recursion_limit(DEEPEST);
        env.set_unknown_method_callback(filters::call_method);
        env.set_formatter(|out, state, value| {
            if value.is_undefined() {
                return minijinja::escape_formatter(out, state, value);
            }
            out.write_str(&python::text(value)).map_err(Error::from)
        });
        env.set_path_join_callback(|name, parent| beside(name, parent).into());
        let roots = Arc::clone(&self.roots);
        env.set_loader(move |name| match roots.find(name) {
            Some(file) => {
                let text = roots::read(&file).map_err(|problem| filters::invalid(problem.to_string()))?;
                Ok(Some(dialect::translate(&text)))
            }
            None => Ok(None),
        });
        filters::add(&mut env);
        add_imports(&mut env);
        let Facts { pillar, grains, opts } = &*self.facts;
        let salt = Functions { facts: Arc::clone(&self.facts), prefix: String::new() };
        env.add_global("salt", Value::from_object(salt));
        env.add_global("pillar", pillar.clone());
        env.add_global("grains", grains.clone());
        env.add_global("opts", opts.clone());
        env.add_global("saltenv", "base");
        for (name, value) in variables {
            env.add_global(name.clone(), value.clone());
        }
        env
    }

    /// Says what is wrong with a template, by the innermost error: the outer ones say that an import failed.
    fn problem(&self, file: &Path, name: &str, error: &Error) -> Problem {
        let mut inner = error;
        let mut source = std::error::Error::source(error);
        while let Some(next) = source {
            if let Some(next) = next.downcast_ref::<Error>().filter(|next| next.line().is_some()) {
                inner = next;
            }
            source = next.source();
        }
        let place = match inner.name() {
            Some(other) if other != name => self.roots.find(other).unwrap_or_else(|| other.into()),
            _ => file.to_owned(),
        };
        let what = match (inner.kind(), inner.detail()) {
            (ErrorKind::OutOfFuel, _) => "the template takes too many steps".to_owned(),
            // An undefined value has lost its name by then, and the template's text has it.
            (ErrorKind::UndefinedError, Some(filters::UNDEFINED)) => match filtered(inner) {
                Some(text) => format!("something in `{text}` is undefined"),
                None => filters::UNDEFINED.to_owned(),
            },
            (_, Some(detail)) => detail.to_owned(),
            (kind, None) => kind.to_string(),
        };
        Place::new(&place, inner.line().unwrap_or(1)).problem(format!("Jinja cannot render this: {what}."))
    }
}

/// Returns what a tag has up to the filter that failed, which the range of the error names.
fn filtered(error: &Error) -> Option<&str> {
    let before = error.template_source()?.get(..error.range()?.end)?;
    let begin = before.rfind("{{").max(before.rfind("{%"))?;
    let text = before[begin + 2..].trim_start_matches(['-', '+']).trim();
    (text.len() <= LONGEST_SHOWN && !text.contains('\n')).then_some(text)
}

/// Adds `import_yaml` and its like, which render a file and read the result.
fn add_imports(env: &mut Environment<'_>) {
    let count = Arc::new(AtomicUsize::new(0));
    let render = move |state: &State<'_, '_>, name: &str| -> Result<String, Error> {
        if count.fetch_add(1, Ordering::Relaxed) >= IMPORTS {
            return Err(filters::invalid(format!("more than {IMPORTS} files are imported as data")));
        }
        let name = beside(name, state.name());
        state.env().get_template(&name)?.render(())
    };
    let text = render.clone();
    env.add_function("import_text", move |state: &State<'_, '_>, name: &str| text(state, name));
    let yaml = render.clone();
    env.add_function("import_yaml", move |state: &State<'_, '_>, name: &str| filters::load(&yaml(state, name)?));
    env.add_function("import_json", move |state: &State<'_, '_>, name: &str| filters::load(&render(state, name)?));
}

/// Returns the name of a template that another one names. `./x` lies beside the other one.
fn beside(name: &str, parent: &str) -> String {
    if !name.starts_with("./") && !name.starts_with("../") {
        return name.to_owned();
    }
    let mut parts: Vec<&str> = parent.split('/').collect();
    parts.pop();
    for part in name.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests;
