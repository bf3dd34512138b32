//! Reads files of states (`render_state` and `compile_high_data` of salt/state.py).

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::chunk::{Chunk, Order, Requisite, Target};
use super::functions;
use crate::jinja::Renderer;
use crate::sls;
use crate::yaml::Node;
use crate::{Place, Problem};

/// Order of the first state that names none, as in Salt.
const FIRST_ORDER: f64 = 10_000.0;
/// Largest number of states, so that a loop of a template comes to an end.
const MOST_STATES: usize = 10_000;

/// Reads these files of states, and what they include.
///
/// # Errors
/// A file does not render, an id occurs twice, or a state is not carried out here.
pub fn read(renderer: &Renderer, names: &[String]) -> Result<Vec<Chunk>, Problem> {
    let mut reader = Reader::new(renderer);
    for name in names {
        let missing = || Problem::new(format!("The states {name} are missing. Correct the name in top.sls."));
        let (path, file) = renderer.roots().find_sls(name).ok_or_else(missing)?;
        reader.file(name, &path, &file)?;
    }
    reader.end()
}

/// Reads the states of one text.
#[cfg(fuzzing)]
pub fn read_text(renderer: &Renderer, node: &Node) -> Result<Vec<Chunk>, Problem> {
    let mut reader = Reader::new(renderer);
    reader.declarations("fuzz", Path::new("fuzz.sls"), node)?;
    reader.end()
}

/// The requisites that a state gives to others: `require_in` and its like.
type Given = Vec<(Requisite, Target, Place)>;

struct Reader<'a> {
    renderer: &'a Renderer,
    /// The files so far.
    seen: HashSet<String>,
    /// The ids so far, over all files.
    ids: HashSet<String>,
    chunks: Vec<(Chunk, Given)>,
    /// Order of the next state that names none.
    order: f64,
}

impl<'a> Reader<'a> {
    fn new(renderer: &'a Renderer) -> Self {
        Self { renderer, seen: HashSet::new(), ids: HashSet::new(), chunks: Vec::new(), order: FIRST_ORDER }
    }

    fn end(mut self) -> Result<Vec<Chunk>, Problem> {
        apply_requisites_in(&mut self.chunks)?;
        Ok(self.chunks.into_iter().map(|(chunk, _)| chunk).collect())
    }

    fn file(&mut self, sls: &str, path: &str, file: &Path) -> Result<(), Problem> {
        if !self.seen.insert(sls.to_owned()) {
            return Ok(());
        }
        let node = sls::mapping(&sls::render(self.renderer, file, file, path, sls)?, "file of states")?;
        self.declarations(sls, file, &node)
    }

    fn declarations(&mut self, sls: &str, file: &Path, node: &Node) -> Result<(), Problem> {
        let pairs = node.pairs().unwrap_or_default();
        for (key, value) in pairs.iter().filter(|(key, _)| key.text() == Some("include")) {
            let place = Place::new(file, key.line);
            let list = value.list().ok_or_else(|| place.problem("`include` is no list. Write names with `-`."))?;
            for item in list {
                let place = Place::new(file, item.line);
                let name = item.text().ok_or_else(|| place.problem("A name is missing. Write that of states."))?;
                let name = sls::relative(name, sls, file);
                let missing = || place.problem(format!("The states {name} are missing. Correct their name."));
                let (path, included) = self.renderer.roots().find_sls(&name).ok_or_else(missing)?;
                self.file(&name, &path, &included)?;
            }
        }
        for (key, value) in pairs {
            let place = Place::new(file, key.line);
            // Salt refuses these, too: `true` is a command's name only in quotes.
            let id = key.text().ok_or_else(|| {
                let id = crate::python::text(&key.value());
                place.problem(format!("The id {id} is no text. Write it in quotes."))
            })?;
            match id {
                "include" => {}
                "extend" | "exclude" => {
                    let text = format!("`{id}` is not carried out here. Write the state as it is meant.");
                    return Err(place.problem(text));
                }
                _ if !self.ids.insert(id.to_owned()) => {
                    return Err(place.problem(format!("The id {id} occurs twice. Name one of the two otherwise.")));
                }
                _ => self.declaration(sls, id, &place, value)?,
            }
        }
        Ok(())
    }

    /// Reads what stands under an id: `file.managed: […]`, `file: [managed, …]`, or the short `ID: cmd.run`.
    fn declaration(&mut self, sls: &str, id: &str, place: &Place, body: &Node) -> Result<(), Problem> {
        if let Some(function) = body.text() {
            return self.state(sls, id, place, function, &[]);
        }
        let Some(pairs) = body.pairs() else {
            return Err(place.problem(format!("The state {id} has no function. Write one, such as `file.managed:`.")));
        };
        let mut modules = HashSet::new();
        for (key, args) in pairs {
            let place = Place::new(&place.file, key.line);
            let function = crate::python::text(&key.value());
            if !modules.insert(function.split('.').next().unwrap_or_default().to_owned()) {
                return Err(place.problem(format!("The id {id} has two states of one kind. Give the other an id.")));
            }
            let Some(args) = args.list() else {
                return Err(place.problem(format!("The options of {function} are no list. Write each with `-`.")));
            };
            self.state(sls, id, &place, &function, args)?;
        }
        Ok(())
    }

    fn state(&mut self, sls: &str, id: &str, place: &Place, function: &str, list: &[Node]) -> Result<(), Problem> {
        let (module, mut function) = match function.split_once('.') {
            Some((module, function)) => (module, Some(function.to_owned())),
            None => (function, None),
        };
        let (mut args, mut names): (Vec<(String, Node)>, Vec<Node>) = (Vec::new(), Vec::new());
        for item in list {
            if let Some(name) = item.text() {
                function.get_or_insert_with(|| name.to_owned());
            }
            for (key, value) in item.pairs().unwrap_or_default() {
                match crate::python::text(&key.value()).as_str() {
                    "names" => names.extend(value.list().unwrap_or_default().iter().cloned()),
                    key => args.push((key.to_owned(), value.clone())),
                }
            }
        }
        let function = function.ok_or_else(|| place.problem(format!("The state {id} has no function. Write one.")))?;
        let mut chunk = Chunk {
            id: id.into(),
            sls: sls.into(),
            module: module.into(),
            function,
            name: id.into(),
            place: place.clone(),
            args,
            order: Order::Number(self.order),
            name_order: 0,
            requisites: Vec::new(),
        };
        let given = take_requisites(&mut chunk)?;
        chunk.order = match chunk.text("order")?.as_deref() {
            Some("first") => Order::First,
            Some("last") => Order::Last,
            Some(number) => Order::Number(
                number.parse().map_err(|_| chunk.problem("`order` is wrong. Write a number, first or last."))?,
            ),
            None => {
                self.order += 1.0;
                chunk.order
            }
        };
        if let Some(name) = chunk.arg("name").and_then(Node::text) {
            chunk.name = name.to_owned();
        }
        let mut chunks = Vec::new();
        for (at, entry) in names.iter().enumerate() {
            let mut named = chunk.clone();
            named.name_order = at + 1;
            match entry.pairs() {
                Some([(name, options)]) => {
                    named.name = crate::python::text(&name.value());
                    for (key, value) in
                        options.list().unwrap_or_default().iter().flat_map(|o| o.pairs().unwrap_or_default())
                    {
                        named.args.push((crate::python::text(&key.value()), value.clone()));
                    }
                }
                _ => named.name = crate::python::text(&entry.value()),
            }
            chunks.push(named);
        }
        if names.is_empty() {
            chunks.push(chunk);
        }
        for chunk in chunks {
            functions::check(&chunk)?;
            if self.chunks.len() >= MOST_STATES {
                return Err(chunk.problem(format!("There are more than {MOST_STATES} states. Write fewer.")));
            }
            self.chunks.push((chunk, given.clone()));
        }
        Ok(())
    }
}

/// Moves requisites from the options to where they belong, and returns those that the state gives to others.
fn take_requisites(chunk: &mut Chunk) -> Result<Given, Problem> {
    let (mut own, mut given) = (Vec::new(), Vec::new());
    for (key, node) in std::mem::take(&mut chunk.args) {
        let Some((requisite, is_in)) = Requisite::of(&key) else {
            chunk.args.push((key, node));
            continue;
        };
        let file: PathBuf = chunk.place.file.clone();
        let place = |node: &Node| Place::new(&file, node.line);
        let wrong = |node: &Node| place(node).problem(format!("`{key}` is wrong. Write a list of `- module: id`."));
        let items = match node.list() {
            Some(items) => items,
            None if is_in && node.pairs().is_some() => std::slice::from_ref(&node),
            None => return Err(wrong(&node)),
        };
        for item in items {
            let targets: Vec<Target> = match (item.text(), item.pairs()) {
                (Some(id), _) => vec![Target { module: "id".into(), name: id.into() }],
                (None, Some(pairs)) => {
                    let target = |(module, name): &(Node, Node)| {
                        let module = module.text()?.split('.').next()?.to_owned();
                        Some(Target { module, name: name.text()?.to_owned() })
                    };
                    pairs.iter().map(|pair| target(pair).ok_or_else(|| wrong(item))).collect::<Result<_, _>>()?
                }
                _ => return Err(wrong(item)),
            };
            for target in targets {
                match is_in {
                    true => given.push((requisite, target, place(item))),
                    false => own.push((requisite, target)),
                }
            }
        }
    }
    chunk.requisites = own;
    Ok(given)
}

/// Gives the requisites of `require_in` and its like to the states that they name.
fn apply_requisites_in(chunks: &mut [(Chunk, Given)]) -> Result<(), Problem> {
    let mut new: Vec<(usize, Requisite, Target)> = Vec::new();
    for (chunk, given) in chunks.iter() {
        for (requisite, target, place) in given {
            let matching = chunks.iter().enumerate().filter(|(_, (other, _))| target.is(other));
            let indexes: Vec<usize> = matching.map(|(index, _)| index).collect();
            if indexes.is_empty() {
                return Err(place.problem(target.missing()));
            }
            let own = Target { module: chunk.module.clone(), name: chunk.id.clone() };
            new.extend(indexes.into_iter().map(|index| (index, *requisite, own.clone())));
        }
    }
    for (index, requisite, target) in new {
        let requisites = &mut chunks[index].0.requisites;
        if !requisites.contains(&(requisite, target.clone())) {
            requisites.push((requisite, target));
        }
    }
    Ok(())
}
