//! No two files of `src/` and `core/src/` need each other, directly or by way of others: each can be read after those that it uses.
//!
//! A file that uses its own folder's `mod.rs` (or `folder.rs`) does not count, because a folder's first file declares what
//! its files share.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use regex::Regex;

use super::{below_src, sources, without_tests};

/// A module's path below the crate: `["git", "mirror"]`.
type Module = Vec<String>;

struct File {
    /// Items that the file itself defines.
    defines: BTreeSet<String>,
    /// Names that `use` brings in, with the paths that they come from.
    uses: HashMap<String, Vec<Vec<String>>>,
    /// The text without its tests, comments and `use` items.
    body: String,
}

/// Splits `a::{b, c::d as e}` into the paths that it stands for.
fn paths_of(tree: &str) -> Vec<String> {
    let tree = tree.trim();
    let Some((prefix, list)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return Vec::from_iter((!path.is_empty()).then(|| path.to_owned()));
    };
    let list = list.trim_end().strip_suffix('}').expect("a list of a use item ends");
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for c in list.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            c => parts.last_mut().unwrap().push(c),
        }
    }
    let below = parts.iter().flat_map(|part| paths_of(part));
    below.map(|path| format!("{prefix}{path}")).collect()
}

fn split(path: &str) -> Vec<String> {
    path.split("::").map(|part| part.trim().to_owned()).collect()
}

fn read_files() -> BTreeMap<Module, File> {
    let comment = Regex::new(r"//[^\n]*").unwrap();
    let item = Regex::new(
        r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?(?:async\s+|unsafe\s+|const\s+)*(?:struct|enum|trait|type|fn|const|static|macro_rules!)\s+(\w+)",
    )
    .unwrap();
    let import = Regex::new(r"(?m)^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);").unwrap();
    let mut files = BTreeMap::new();
    for (path, text) in sources() {
        let mut module: Module =
            below_src(&path).with_extension("").iter().map(|p| p.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|name| name == "mod") {
            module.pop();
        }
        let text = comment.replace_all(without_tests(&text), "").into_owned();
        let mut uses: HashMap<String, Vec<Vec<String>>> = HashMap::new();
        for path in import.captures_iter(&text).flat_map(|found| paths_of(&found[1])).map(|path| split(&path)) {
            uses.entry(path.last().unwrap().clone()).or_default().push(path);
        }
        let defines = item.captures_iter(&text).map(|found| found[1].to_owned()).collect();
        files.insert(module, File { defines, uses, body: import.replace_all(&text, "").into_owned() });
    }
    files
}

/// The files in which the item at `path`, as it is written in `from`, is defined.
fn defining(files: &BTreeMap<Module, File>, from: &[String], path: &[String], depth: usize) -> BTreeSet<Module> {
    let (mut module, mut rest) = (from.to_vec(), path);
    match rest.first().map(String::as_str) {
        Some("crate") => (module, rest) = (Vec::new(), &rest[1..]),
        Some("self") => rest = &rest[1..],
        Some("super") => {
            while rest.first().is_some_and(|part| part == "super") {
                module.pop();
                rest = &rest[1..];
            }
        }
        Some(first) if files.contains_key(&[from, &[first.to_owned()]].concat()) => {}
        _ => return BTreeSet::new(),
    }
    while let Some(child) =
        rest.first().map(|part| [&module[..], std::slice::from_ref(part)].concat()).filter(|c| files.contains_key(c))
    {
        (module, rest) = (child, &rest[1..]);
    }
    let Some((file, name)) = files.get(&module).zip(rest.first()) else {
        return BTreeSet::from_iter(Some(module).filter(|module| !module.is_empty()));
    };
    if !file.defines.contains(name) && depth < 8 {
        let origins = file.uses.get(name).into_iter().flatten();
        let origins: BTreeSet<Module> = origins.flat_map(|path| defining(files, &module, path, depth + 1)).collect();
        if !origins.is_empty() {
            return origins;
        }
    }
    BTreeSet::from([module])
}

/// The files that each file uses, its own ancestors aside.
fn graph(files: &BTreeMap<Module, File>) -> BTreeMap<Module, BTreeSet<Module>> {
    let inline = Regex::new(r"\b[a-z_]+(?:::\w+)+").unwrap();
    let word = Regex::new(r"\w+").unwrap();
    let used = |module: &Module, file: &File| {
        let words: BTreeSet<&str> = word.find_iter(&file.body).map(|found| found.as_str()).collect();
        let imported =
            file.uses.iter().filter(|(name, _)| words.contains(name.as_str())).flat_map(|(_, paths)| paths.clone());
        let inline = inline.find_iter(&file.body).map(|found| split(found.as_str()));
        let mut all: BTreeSet<Module> =
            imported.chain(inline).flat_map(|path| defining(files, module, &path, 0)).collect();
        all.retain(|used| !module.starts_with(used) && files.contains_key(used));
        all
    };
    files.iter().map(|(module, file)| (module.clone(), used(module, file))).collect()
}

/// Every file that can be reached from `start`.
fn reachable<'a>(graph: &'a BTreeMap<Module, BTreeSet<Module>>, start: &'a Module) -> BTreeSet<&'a Module> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
    while let Some(module) = next.pop() {
        next.extend(graph.get(module).into_iter().flatten().filter(|used| seen.insert(*used)));
    }
    seen
}

/// The uses that are part of a circle: those whose file is reached from what it uses.
fn circles(graph: &BTreeMap<Module, BTreeSet<Module>>) -> Vec<String> {
    let reached: BTreeMap<&Module, BTreeSet<&Module>> =
        graph.keys().map(|module| (module, reachable(graph, module))).collect();
    let line = |(module, uses): (&Module, &BTreeSet<Module>)| {
        let back = |used: &&Module| reached.get(used).is_some_and(|reached| reached.contains(module));
        let uses: Vec<String> = uses.iter().filter(back).map(|used| used.join("/")).collect();
        (!uses.is_empty()).then(|| format!("{} uses {}", module.join("/"), uses.join(", ")))
    };
    graph.iter().filter_map(line).collect()
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    let graph = graph(&read_files());
    let edges: usize = graph.values().map(BTreeSet::len).sum();
    assert!(edges > 500, "only {edges} uses were found: the imports are not read as they are written");
    let circles = circles(&graph);
    assert!(
        circles.is_empty(),
        "these files need each other, move what they share into a file below:\n{}",
        circles.join("\n")
    );
}

#[test]
fn a_circle_is_found_and_a_ladder_is_not() {
    let module = |name: &str| vec![name.to_owned()];
    let uses = |names: &[&str]| names.iter().map(|name| module(name)).collect::<BTreeSet<_>>();
    let ladder =
        BTreeMap::from([(module("a"), uses(&["b", "c"])), (module("b"), uses(&["c"])), (module("c"), uses(&[]))]);
    assert_eq!(circles(&ladder), Vec::<String>::new());
    let mut circle = ladder;
    circle.insert(module("c"), uses(&["a"]));
    assert_eq!(circles(&circle), ["a uses b, c", "b uses c", "c uses a"]);
    assert_eq!(paths_of("a::{b, c::{self, d as e}}"), ["a::b", "a::c::self", "a::c::d"]);
}
