//! Files of pillars and states: Jinja first, then YAML.

use std::collections::BTreeMap;
use std::path::Path;

use minijinja::Value;

use crate::jinja::{Rendered, Renderer};
use crate::yaml::{self, Content, Node};
use crate::{Problem, roots};

/// Renders a file, which messages call `shown`. `name` is its path below the roots, `sls` its name in states.
///
/// # Errors
/// The template does not render, or another renderer than Jinja and YAML is named.
pub fn render(renderer: &Renderer, file: &Path, shown: &Path, name: &str, sls: &str) -> Result<Rendered, Problem> {
    let source = roots::read(file)?;
    let first = source.lines().next().unwrap_or_default();
    match first.strip_prefix("#!").filter(|rest| !rest.starts_with('/')).map(str::trim) {
        None | Some("jinja|yaml") => renderer.render(shown, &source, &variables(name, sls)),
        Some("yaml") => Ok(Rendered::verbatim(shown, source)),
        Some(other) => {
            let text = format!("The renderer {other} is not carried out here. Write Jinja and YAML.");
            Err(crate::Place::new(shown, 1).problem(text))
        }
    }
}

/// Returns the variables that say where a file is (`generate_sls_context` of salt/utils/templates.py).
fn variables(name: &str, sls: &str) -> BTreeMap<String, Value> {
    let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
    let tpldir = if folder.is_empty() { "." } else { folder };
    [
        ("sls", sls.to_owned()),
        ("tplfile", name.to_owned()),
        ("tpldir", tpldir.to_owned()),
        ("tpldot", folder.replace('/', ".")),
        ("slspath", folder.to_owned()),
        ("sls_path", folder.replace('/', "_")),
        ("slsdotpath", folder.replace('/', ".")),
        ("slscolonpath", folder.replace('/', ":")),
    ]
    .map(|(key, value)| (key.to_owned(), Value::from(value)))
    .into()
}

/// Reads a rendered file, which is a mapping. An empty one has no pairs. `what` is the file's kind, such as `pillar`.
///
/// # Errors
/// The text is no YAML, or something else than a mapping.
pub fn mapping(rendered: &Rendered, what: &str) -> Result<Node, Problem> {
    let node = yaml::read(&rendered.text)
        .map_err(|error| rendered.place(error.line).problem(format!("The YAML cannot be read: {}.", error.text)))?;
    let node = with_lines(node, rendered);
    match node.content {
        Content::Map(_) => Ok(node),
        Content::Scalar(value) if !value.is_true() => Ok(Node { line: 1, content: Content::Map(Vec::new()) }),
        Content::List(list) if list.is_empty() => Ok(Node { line: 1, content: Content::Map(Vec::new()) }),
        _ => Err(rendered.place(node.line).problem(format!("The {what} is no mapping. Write `key: value`."))),
    }
}

/// Puts the template's lines in the place of the rendered text's.
fn with_lines(node: Node, rendered: &Rendered) -> Node {
    let line = rendered.place(node.line).line;
    let content = match node.content {
        Content::Scalar(value) => Content::Scalar(value),
        Content::List(list) => Content::List(list.into_iter().map(|node| with_lines(node, rendered)).collect()),
        Content::Map(pairs) => Content::Map(
            pairs.into_iter().map(|(key, value)| (with_lines(key, rendered), with_lines(value, rendered))).collect(),
        ),
    };
    Node { line, content }
}

/// Returns what `top.sls` names for every minion, or `None` without that file. `what` is the kind of the files.
///
/// # Errors
/// The file does not render, is something else than environments with targets, or names nothing.
pub fn top(renderer: &Renderer, what: &str) -> Result<Option<Vec<String>>, Problem> {
    let Some(file) = renderer.roots().find("top.sls") else { return Ok(None) };
    let node = mapping(&render(renderer, &file, &file, "top.sls", "top")?, what)?;
    let mut names = Vec::new();
    for (environment, targets) in node.pairs().unwrap_or_default() {
        let problem = |node: &Node, text: &str| crate::Place::new(&file, node.line).problem(text);
        if environment.text() != Some("base") {
            return Err(problem(environment, "There is one environment here. Write `base`."));
        }
        for (target, list) in targets.pairs().unwrap_or_default() {
            if target.text() != Some("*") {
                return Err(problem(target, "There is one container to address here. Write '*'."));
            }
            let list = list.list().ok_or_else(|| problem(list, "The names are no list. Write each with `-`."))?;
            for item in list {
                let name = item.text().ok_or_else(|| problem(item, "Targets have no options here. Write a name."))?;
                names.push(name.to_owned());
            }
        }
    }
    // Salt takes it for a project that has nothing to configure, and an application would start as it was.
    if names.is_empty() {
        let text = format!("The file names no {what}. Write names below `base` and '*', or remove it.");
        return Err(crate::Place::new(&file, 1).problem(text));
    }
    Ok(Some(names))
}

/// Returns the name that a file includes: `.b` in `a.c` is `a.b`, and `a.c.b` if `a.c` is a folder's `init.sls`.
pub fn relative(name: &str, sls: &str, file: &Path) -> String {
    let name = name.replace('/', ".");
    let levels = name.len() - name.trim_start_matches('.').len();
    if levels == 0 {
        return name;
    }
    let mut parts: Vec<&str> = sls.split('.').collect();
    let up = if file.ends_with("init.sls") { levels - 1 } else { levels };
    parts.truncate(parts.len().saturating_sub(up));
    parts.push(name.trim_start_matches('.'));
    parts.join(".")
}
