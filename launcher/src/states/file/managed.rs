//! `file.managed`: a file with these bytes, owner and rights.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use minijinja::Value;
use minijinja::value::ValueKind;

use super::{Files, folder_mode, real};
use crate::jinja::{self, Renderer};
use crate::states::accounts::Owner;
use crate::states::chunk::Chunk;
use crate::states::run::{Outcome, Undone};
use crate::{Problem, python, roots};

/// The options of a file.
pub struct Managed {
    content: Content,
    is_template: bool,
    variables: BTreeMap<String, Value>,
    /// Rights, or those of the source.
    mode: Mode,
    dir_mode: Option<u32>,
    makedirs: bool,
    replace: bool,
    create: bool,
}

enum Mode {
    None,
    Keep,
    Number(u32),
}

enum Content {
    /// The file is created empty, and stays as it is if it is there.
    None,
    /// The first of these that is there.
    Source(Vec<String>),
    Text {
        texts: Value,
        newline: bool,
        allow_empty: bool,
    },
    Pillar {
        keys: Vec<String>,
        delimiter: String,
        newline: bool,
        allow_empty: bool,
    },
}

impl Managed {
    /// Reads the options.
    ///
    /// # Errors
    /// An option has a value that means nothing, or two options say what the file has.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        let newline = chunk.boolean("contents_newline", true)?;
        let allow_empty = chunk.boolean("allow_empty", true)?;
        let texts = chunk.value("contents");
        let keys = chunk.texts("contents_pillar")?;
        let sources = chunk.texts("source")?;
        let delimiter = chunk.text("contents_delimiter")?.unwrap_or_else(|| ":".into());
        let content = match (texts, keys.is_empty(), sources.is_empty()) {
            (None, true, true) => Content::None,
            (Some(texts), true, true) => Content::Text { texts, newline, allow_empty },
            (None, false, true) => Content::Pillar { keys, delimiter, newline, allow_empty },
            (None, true, false) => Content::Source(sources),
            _ => return Err(chunk.problem("Two options say what the file has. Keep one of them.")),
        };
        if let Content::Source(sources) = &content
            && let Some(other) = sources.iter().find(|source| source.contains("://") && !source.starts_with("salt://"))
        {
            return Err(chunk.problem(format!("The source {other} is not fetched here. Copy it in the Dockerfile.")));
        }
        let is_template = match chunk.text("template")?.as_deref() {
            None => false,
            Some("jinja") => true,
            Some(other) => return Err(chunk.problem(format!("The template {other} is not rendered here. Use jinja."))),
        };
        let mut variables = BTreeMap::new();
        for key in ["defaults", "context"] {
            match chunk.value(key) {
                None => {}
                Some(map) if map.kind() == ValueKind::Map => {
                    for name in map.try_iter().into_iter().flatten() {
                        variables.insert(python::text(&name), map.get_item(&name).unwrap_or_default());
                    }
                }
                Some(_) => return Err(chunk.problem(format!("`{key}` is wrong. Write `name: value` below it."))),
            }
        }
        let mode = match chunk.text("mode")?.as_deref() {
            None => Mode::None,
            Some("keep") => Mode::Keep,
            Some(_) => chunk.mode("mode")?.map_or(Mode::None, Mode::Number),
        };
        if matches!(mode, Mode::Keep) && !matches!(content, Content::Source(_)) {
            return Err(chunk.problem("`mode: keep` has no source whose rights it keeps. Write a number."));
        }
        Ok(Self {
            content,
            is_template,
            variables,
            mode,
            dir_mode: chunk.mode("dir_mode")?,
            makedirs: chunk.boolean("makedirs", false)?,
            replace: chunk.boolean("replace", true)?,
            create: chunk.boolean("create", true)?,
        })
    }

    /// Writes the file if it differs.
    ///
    /// # Errors
    /// The template does not render, the user is unknown, or the file cannot be written.
    pub fn apply(&self, chunk: &Chunk, files: &Files<'_>, renderer: &Renderer) -> Result<Outcome, Undone> {
        // As in Salt, contents are rendered even if the file is not to be written, and a source is not.
        let given = match self.content {
            Content::Source(_) => None,
            _ => Some(self.content(chunk, files, renderer)?),
        };
        let path = files.path(chunk)?;
        let owner = Owner::of(files, chunk)?;
        if path.is_dir() {
            return Err(Undone::Failed("the path is a folder".into()));
        }
        let exists = path.exists();
        if !exists && !self.create {
            return Ok(Outcome::unchanged());
        }
        let own_mode = if let Mode::Number(mode) = self.mode { Some(mode) } else { None };
        if exists && (!self.replace || matches!(self.content, Content::None)) {
            return Ok(Outcome::new(files.set(&real(&path), owner, own_mode)?));
        }
        let (content, source_mode) = match given {
            Some(given) => given,
            None => self.content(chunk, files, renderer)?,
        };
        let mode = if matches!(self.mode, Mode::Keep) { source_mode } else { own_mode };
        let target = real(&path);
        if exists && fs::read(&target)? == content {
            return Ok(Outcome::new(files.set(&target, owner, mode)?));
        }
        files.check_parent(&target, self.makedirs)?;
        files.make_parents(&target, owner, self.dir_mode.or(mode.map(folder_mode)))?;
        files.write(&target, owner, mode, &content)?;
        Ok(Outcome::changed())
    }

    /// Returns what the file is to have, and the rights of its source.
    fn content(&self, chunk: &Chunk, files: &Files<'_>, renderer: &Renderer) -> Result<(Vec<u8>, Option<u32>), Undone> {
        let text = match &self.content {
            Content::None => return Ok((Vec::new(), None)),
            Content::Source(sources) => {
                let find = |source: &String| match source.strip_prefix('/') {
                    Some(rest) => Some(files.root.join(rest)).filter(|file| file.is_file()),
                    None => renderer.roots().find(source),
                };
                let found = sources.iter().find_map(|source| Some((source, find(source)?)));
                let (source, file) = found.ok_or_else(|| {
                    let names = sources.join(", ");
                    Undone::Failed(format!("the source {names} is missing; salt:// is the folder .salt of the project"))
                })?;
                let mode = fs::metadata(&file)?.permissions().mode() & 0o7777;
                if !self.is_template {
                    return Ok((roots::read_bytes(&file)?, Some(mode)));
                }
                let text = roots::read(&file)?;
                return Ok((self.render(chunk, renderer, &file, source, &text)?, Some(mode)));
            }
            Content::Text { texts, newline, allow_empty } => lines(texts, *newline, *allow_empty)?,
            Content::Pillar { keys, delimiter, newline, allow_empty } => {
                let find = |key: &String| {
                    let missing = || Undone::Failed(format!("the pillar has no {key}"));
                    jinja::find(renderer.pillar(), key, delimiter).ok_or_else(missing)
                };
                let values = keys.iter().map(find).collect::<Result<Vec<_>, _>>()?;
                let value = match <[Value; 1]>::try_from(values) {
                    Ok([value]) => value,
                    Err(values) => values.iter().map(python::text).collect::<Vec<_>>().join("\n").into(),
                };
                lines(&value, *newline, *allow_empty)?
            }
        };
        if !self.is_template {
            return Ok((text.into_bytes(), None));
        }
        Ok((self.render(chunk, renderer, &chunk.place.file, "", &text)?, None))
    }

    fn render(
        &self,
        chunk: &Chunk,
        renderer: &Renderer,
        file: &Path,
        source: &str,
        text: &str,
    ) -> Result<Vec<u8>, Undone> {
        let mut variables: BTreeMap<String, Value> = ["user", "group", "mode"]
            .map(|key| (key.to_owned(), chunk.value(key).unwrap_or_else(|| Value::from(()))))
            .into();
        variables.insert("name".into(), chunk.name.as_str().into());
        variables.insert("source".into(), source.into());
        variables.extend(self.variables.clone());
        Ok(renderer.render(&PathBuf::from(file), text, &variables)?.text.into_bytes())
    }
}

/// Returns the lines of `contents`, each with a line feed. Without `newline` the last one has none.
fn lines(value: &Value, newline: bool, allow_empty: bool) -> Result<String, Undone> {
    let texts: Vec<String> = match value.kind() {
        ValueKind::Seq => value.try_iter().into_iter().flatten().map(|item| python::text(&item)).collect(),
        _ => vec![python::text(value)],
    };
    if texts.iter().all(String::is_empty) && !allow_empty {
        return Err(Undone::Failed("the contents are empty; write `allow_empty: True`, or some".into()));
    }
    let lines = texts.iter().flat_map(|text| python::lines(text));
    let text: String = lines.flat_map(|line| [line.trim_end_matches(['\n', '\r']), "\n"]).collect();
    Ok(if newline { text } else { text.trim_end_matches(['\n', '\r']).to_owned() })
}
