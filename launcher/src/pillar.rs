//! The pillar: the values of a project, from the sample, the image and the volume.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use minijinja::Value;
use minijinja::value::ValueKind;

use crate::jinja::Renderer;
use crate::layout::Layout;
use crate::roots::Roots;
use crate::sls;
use crate::yaml::{self, Node};
use crate::{Place, Problem};

/// Key of the sample in whose place the project's own one comes.
const SAMPLE_KEY: &str = "makina-projects.projectname";
/// Number of files that a pillar may include, so that files that include each other come to an end.
const MOST_FILES: usize = 200;

/// Merges as Salt's strategy `recurse` does: mappings are merged, and everything else of `b` takes the place of what `a`
/// has. With `lists` the new items of a list come behind those that are there.
pub fn merge(a: &Value, b: &Value, lists: bool) -> Value {
    let mut pairs: Vec<(Value, Value)> = pairs(a);
    let at: HashMap<Value, usize> = pairs.iter().enumerate().map(|(at, (key, _))| (key.clone(), at)).collect();
    for (key, value) in self::pairs(b) {
        let Some(at) = at.get(&key) else {
            pairs.push((key, value));
            continue;
        };
        let old = &pairs[*at].1;
        pairs[*at].1 = match (old.kind(), value.kind()) {
            (ValueKind::Map, ValueKind::Map) => merge(old, &value, lists),
            (ValueKind::Seq, ValueKind::Seq) if lists => {
                let mut items: Vec<Value> = old.try_iter().into_iter().flatten().collect();
                for item in value.try_iter().into_iter().flatten() {
                    if !items.contains(&item) {
                        items.push(item);
                    }
                }
                items.into()
            }
            _ => value,
        };
    }
    yaml::ordered(pairs)
}

fn pairs(map: &Value) -> Vec<(Value, Value)> {
    let keys = map.try_iter().into_iter().flatten();
    keys.map(|key| (key.clone(), map.get_item(&key).unwrap_or_default())).collect()
}

/// Returns the pillar of a project: the sample, and above it what is in `pillar/`.
///
/// # Errors
/// A file does not render, or is no mapping.
pub fn compile(layout: &Layout, grains: &Value, opts: &Value, lists: bool) -> Result<Value, Problem> {
    let empty = Value::from_pairs(Vec::<(Value, Value)>::new());
    let roots = Roots::new([(String::new(), layout.pillar_folder())]);
    let renderer = Renderer::new(empty.clone(), grains.clone(), opts.clone(), roots.clone());
    let mut compiler = Compiler { renderer: &renderer, lists, done: HashMap::new(), placed: placed(layout) };
    let mut whole = empty.clone();
    let sample = layout.sample();
    if sample.is_file() {
        let value = compiler.file(&sample, &sample, "PILLAR.sample", "sample")?;
        let project = Value::from(format!("makina-projects.{}", layout.name));
        let named = pairs(&value.ordered()).into_iter().map(|(key, value)| match key.as_str() {
            Some(SAMPLE_KEY) => (project.clone(), value),
            _ => (key, value),
        });
        whole = yaml::ordered(named.collect());
    }
    for sls in sls::top(&renderer, "pillar")?.unwrap_or_else(|| vec!["init".into()]) {
        if let Some(value) = compiler.sls(&sls, None)? {
            whole = merge(&whole, &value, lists);
        } else if sls != "init" {
            let top = layout.pillar_folder().join("top.sls");
            return Err(Problem::with(&top, format!("The pillar {sls} is missing. Correct its name.")));
        }
    }
    // Salt keeps the order of all mappings but the outermost one.
    Ok(Value::from_pairs(pairs(&whole)))
}

/// Returns the project's pillar and the volume's, which has taken its place: a user looks for a mistake in the latter.
fn placed(layout: &Layout) -> Option<(PathBuf, PathBuf)> {
    let (placed, source) = (layout.pillar(), layout.configured_pillar());
    let content = fs::read(&source).ok()?;
    fs::read(&placed).is_ok_and(|other| other == content).then_some((placed, source))
}

/// Returns the pillar of one file, which messages call `shown`.
///
/// # Errors
/// The file does not render, or is no mapping.
pub fn compile_file(file: &Path, shown: &Path, grains: &Value, opts: &Value) -> Result<Value, Problem> {
    let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
    let empty = Value::from_pairs(Vec::<(Value, Value)>::new());
    let renderer = Renderer::new(empty, grains.clone(), opts.clone(), Roots::new([(String::new(), folder)]));
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut compiler = Compiler { renderer: &renderer, lists: false, done: HashMap::new(), placed: None };
    let node = compiler.file(file, shown, &name, name.trim_end_matches(".sls"))?;
    compiler.with_includes(file, shown, &name, node)
}

struct Compiler<'a> {
    renderer: &'a Renderer,
    lists: bool,
    /// The files so far, by their names.
    done: HashMap<String, Value>,
    /// A copy, and the file that messages name in its place.
    placed: Option<(PathBuf, PathBuf)>,
}

impl Compiler<'_> {
    /// Returns the pillar of a name such as `a.b`, or `None` if there is none.
    fn sls(&mut self, sls: &str, includer: Option<&Place>) -> Result<Option<Value>, Problem> {
        if let Some(value) = self.done.get(sls) {
            return Ok(Some(value.clone()));
        }
        let Some((name, file)) = self.renderer.roots().find_sls(sls) else { return Ok(None) };
        if self.done.len() >= MOST_FILES {
            let place = includer.cloned().unwrap_or_else(|| Place::new(&file, 1));
            return Err(place.problem(format!("The pillar has more than {MOST_FILES} files. Include fewer.")));
        }
        // A file that includes itself finds itself without its includes, as in Salt.
        self.done.insert(sls.to_owned(), Value::from_pairs(Vec::<(Value, Value)>::new()));
        let shown = match &self.placed {
            Some((placed, source)) if *placed == file => source.clone(),
            _ => file.clone(),
        };
        let node = self.file(&shown, &shown, &name, sls)?;
        let own = node.ordered();
        self.done.insert(sls.to_owned(), without_includes(&own));
        self.with_includes(&file, &shown, sls, node).map(Some)
    }

    fn file(&self, file: &Path, shown: &Path, name: &str, sls: &str) -> Result<Node, Problem> {
        let rendered = sls::render(self.renderer, file, shown, name, sls)?;
        sls::mapping(&rendered, "pillar")
    }

    /// Merges what a file includes, and above it the file's own values.
    fn with_includes(&mut self, file: &Path, shown: &Path, sls: &str, node: Node) -> Result<Value, Problem> {
        let own = without_includes(&node.ordered());
        let found = node.pairs().into_iter().flatten().find(|(key, _)| key.text() == Some("include"));
        let Some((_, includes)) = found else { return Ok(own) };
        let place = Place::new(shown, includes.line);
        let Some(list) = includes.list() else {
            return Err(place.problem("`include` is no list. Write each name on a line with `-`."));
        };
        let mut whole: Option<Value> = None;
        for item in list {
            let (name, key) = included(item).ok_or_else(|| place.problem("A name is missing. Write the pillar's."))?;
            let name = sls::relative(&name, sls, file);
            let place = Place::new(shown, item.line);
            let missing = || place.problem(format!("The pillar {name} is missing. Correct its name."));
            let mut value = self.sls(&name, Some(&place))?.ok_or_else(missing)?;
            for part in key.iter().flat_map(|key| key.split(':').rev()) {
                value = Value::from_pairs([(part, value)]);
            }
            whole = Some(match whole {
                Some(whole) => merge(&whole, &value, self.lists),
                None => value,
            });
        }
        Ok(whole.map_or_else(|| own.clone(), |whole| merge(&whole, &own, self.lists)))
    }
}

/// Returns the name and the key of `- name`, or of `- name: {key: KEY}`.
fn included(item: &Node) -> Option<(String, Option<String>)> {
    match (item.text(), item.pairs()) {
        (Some(name), _) => Some((name.into(), None)),
        (None, Some([(name, options)])) => {
            let key = options.pairs().into_iter().flatten().find(|(key, _)| key.text() == Some("key"));
            Some((name.text()?.into(), key.and_then(|(_, key)| key.text()).map(str::to_owned)))
        }
        _ => None,
    }
}

fn without_includes(map: &Value) -> Value {
    let kept = pairs(map).into_iter().filter(|(key, _)| key.as_str() != Some("include"));
    yaml::ordered(kept.collect())
}

/// Returns a pillar as a file that Salt reads without Jinja.
pub fn to_sls(pillar: &Value) -> String {
    format!("#!yaml\n{}\n", yaml::dump(pillar, yaml::Flow::Block))
}

/// Returns a warning for each key of the pillar that belongs to another project, because a mistyped one is not heeded.
pub fn foreign_keys(layout: &Layout, pillar: &Value) -> Vec<String> {
    let own = format!("makina-projects.{}", layout.name);
    let keys = pillar.try_iter().into_iter().flatten().map(|key| key.to_string());
    let foreign = keys.filter(|key| key.starts_with("makina-projects.") && *key != own);
    foreign.map(|key| format!("the pillar has {key}, and this project reads {own}")).collect()
}

/// Returns a warning if the project's own key, or its `data`, is there without values. It hides those of the sample,
/// and a state then names a value that the pillar seems to have.
pub fn hidden_values(layout: &Layout, pillar: &Value) -> Option<String> {
    let own = format!("makina-projects.{}", layout.name);
    let of = |map: &Value, key: &str| map.get_item(&Value::from(key)).ok().filter(|value| !value.is_undefined());
    let project = of(pillar, &own)?;
    let (shown, value) = match project.kind() {
        ValueKind::Map => (format!("data of {own}"), of(&project, "data")?),
        _ => (own, project),
    };
    let lacks = match value.kind() {
        ValueKind::Map => return None,
        ValueKind::None => "is empty",
        _ => "is no mapping",
    };
    Some(format!(
        "the pillar's {shown} {lacks}, so that the project has no data: write its values below it, each with more \
         spaces before it, or remove the line"
    ))
}

/// Returns the variables of a project in `opts.ms_project`, as makina-states has them.
pub fn project(layout: &Layout, pillar: &Value) -> Value {
    let folder = |name: &str| format!("/srv/projects/{}/{name}", layout.name);
    let own = pillar.get_item(&Value::from(format!("makina-projects.{}", layout.name))).unwrap_or_default();
    let data = own.get_attr("data").unwrap_or_default();
    let empty = || Value::from_pairs(Vec::<(Value, Value)>::new());
    let data = if data.kind() == ValueKind::Map { data } else { empty() };
    let variables: BTreeMap<&str, Value> = BTreeMap::from([
        ("name", Value::from(layout.name.as_str())),
        ("project_dir", Value::from(format!("/srv/projects/{}", layout.name))),
        ("project_root", Value::from(folder("project"))),
        ("salt_root", Value::from(folder("project/.salt"))),
        ("pillar_root", Value::from(folder("pillar"))),
        ("data_root", Value::from(folder("data"))),
        ("data", data),
    ]);
    Value::from_pairs(variables)
}

#[cfg(test)]
mod tests;
