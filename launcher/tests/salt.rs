//! The launcher against Salt 3008.4 itself: the same projects, their pillars, the order of their states, and the bytes,
//! owners and modes of what they write.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

#[path = "salt/example.rs"]
mod example;
#[path = "salt/generated.rs"]
mod generated;
mod image;
mod random;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::Image;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A root with the project `p`, whose states write below `out`.
struct Project {
    folder: TempDir,
    lists: bool,
}

impl Project {
    fn new(files: &[(&str, String)], lists: bool) -> Self {
        let project = Self { folder: tempfile::Builder::new().prefix("launcher-salt-").tempdir().unwrap(), lists };
        for (path, text) in files {
            let path = project.path("srv/projects/p").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text.replace("@BASE@", project.path("out").to_str().unwrap())).unwrap();
        }
        fs::create_dir_all(project.path("srv/projects/p/pillar")).unwrap();
        fs::create_dir(project.path("etc")).unwrap();
        fs::write(project.path("etc/circus.ini"), "[watcher:app]\ncmd = true\nrespawn = False\n").unwrap();
        for name in ["passwd", "group"] {
            fs::copy(Path::new("/etc").join(name), project.path("etc").join(name)).unwrap();
        }
        if lists {
            fs::write(project.path("merge-lists"), "").unwrap();
        }
        project
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// Launches it, and returns the same as the judge: the order and results of states, and the tree.
    fn launch(&self) -> (bool, Value, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launcher"));
        command.args(["launch", "re_configure=True"]).arg(format!("--root={}", self.folder.path().display()));
        command.args(self.lists.then_some("pillar_merge_lists=True"));
        command.env_remove("SHELL").env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        let states: Vec<Value> = text.lines().filter_map(state).collect();
        (output.status.success(), json!({"states": states, "tree": tree(&self.path("out"))}), text)
    }
}

/// Reads a line of the list: what was carried out, on what, with which result.
fn state(line: &str) -> Option<Value> {
    let line = line.strip_prefix("launcher | ")?;
    for (word, result) in [
        ("changed: ", "changed"),
        ("unchanged: ", "unchanged"),
        ("skipped: ", "unchanged"),
        ("not run, because what it requires failed: ", "failed"),
    ] {
        if let Some((what, name)) = line.strip_prefix(word).and_then(|rest| rest.split_once(' ')) {
            return Some(json!([what, name, result]));
        }
    }
    let (_, what) = line.split_once(".sls:")?.1.split_once(": ")?;
    let (what, name) = what.split_once(" failed: ")?.0.split_once(' ')?;
    Some(json!([what, name, "failed"]))
}

/// Returns each path below a folder with its kind, mode, owner and content.
fn tree(top: &Path) -> BTreeMap<String, Value> {
    fn walk(top: &Path, folder: &Path, found: &mut BTreeMap<String, Value>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, status) = (entry.path(), entry.metadata().unwrap());
            let mode = status.permissions().mode() & 0o7777;
            let owner = json!([status.uid(), status.gid()]);
            let value = if status.is_symlink() {
                json!(["link", 0, owner, fs::read_link(&path).unwrap()])
            } else if status.is_dir() {
                walk(top, &path, found);
                json!(["folder", mode, owner, ""])
            } else {
                json!(["file", mode, owner, STANDARD.encode(fs::read(&path).unwrap())])
            };
            found.insert(path.strip_prefix(top).unwrap().to_str().unwrap().to_owned(), value);
        }
    }
    let mut found = BTreeMap::new();
    walk(top, top, &mut found);
    found
}

/// Returns the folder of Salt's Python environment.
fn salt() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/venv");
    let venv = Command::new(script).args(["salt", "salt==3008.4"]).output().unwrap();
    assert!(venv.status.success(), "{}", String::from_utf8_lossy(&venv.stderr));
    Path::new(String::from_utf8(venv.stdout).unwrap().trim()).into()
}

/// Has Salt do all projects in one process, because it takes a second to start.
fn judge(projects: &[Project]) -> Vec<Value> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = salt().join("bin/python");
    let own = tempfile::tempdir().unwrap();
    let mut command = Command::new(python);
    command.arg(top.join("tests/salt/judge.py")).arg(own.path());
    command.args(projects.iter().map(|project| project.folder.path()));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {text}\n{}", String::from_utf8_lossy(&output.stderr)))
}

/// Compares one project.
fn compare(name: &str, project: &Project, salt: &Value, differences: &mut Vec<String>) {
    let (succeeded, ours, text) = project.launch();
    let states = salt["states"].as_array().map(|states| {
        let state = |state: &Value| {
            let result = match (&state[2], &state[3]) {
                (Value::Bool(false), _) => "failed",
                (_, Value::Bool(true)) => "changed",
                _ => "unchanged",
            };
            json!([state[0], state[1].as_str().unwrap().lines().next().unwrap_or_default(), result])
        };
        states.iter().map(state).collect::<Vec<_>>()
    });
    let mut differs = |what: &str, salt: &Value, ours: &Value| {
        if salt != ours {
            let first = |value: &Value, other: &Value| match (value.as_array(), other.as_array()) {
                (Some(value), Some(other)) if what == "states" => {
                    let differing = value.iter().enumerate().filter(|(at, item)| other.get(*at) != Some(item));
                    differing.map(|(at, item)| format!("{at}: {item} ")).collect()
                }
                _ => value.to_string(),
            };
            differences.push(format!(
                "{name}: {what}\n  Salt: {}\n  ours: {}\n{text}",
                first(salt, ours),
                first(ours, salt)
            ));
        }
    };
    match states {
        None => differs("a project that Salt refuses", &json!([false, {}]), &json!([succeeded, ours["tree"]])),
        Some(states) => {
            let has_failed = states.iter().any(|state| state[2] == "failed");
            differs("success", &json!(!has_failed), &json!(succeeded));
            differs("states", &json!(states), &ours["states"]);
            let tree = salt["tree"].as_object().unwrap();
            let ours = ours["tree"].as_object().unwrap();
            for path in tree.keys().chain(ours.keys().filter(|path| !tree.contains_key(*path))) {
                let shown = |tree: &serde_json::Map<String, Value>| {
                    let mut entry = tree.get(path).cloned().unwrap_or_default();
                    if let Some(content) = entry.get_mut(3).filter(|content| content.is_string()) {
                        let decoded = STANDARD.decode(content.as_str().unwrap()).unwrap_or_default();
                        *content =
                            format!("{} {}", content.as_str().unwrap(), String::from_utf8_lossy(&decoded)).into();
                    }
                    entry
                };
                differs(path, &shown(tree), &shown(ours));
            }
        }
    }
}

fn compare_all(projects: Vec<(String, Project)>) {
    let (names, projects): (Vec<_>, Vec<_>) = projects.into_iter().unzip();
    let salt = judge(&projects);
    let mut differences = Vec::new();
    for ((name, project), salt) in names.iter().zip(&projects).zip(&salt) {
        compare(name, project, salt, &mut differences);
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n\n"));
    let carried_out = salt.iter().filter(|salt| salt["states"].is_array()).count();
    assert!(carried_out * 2 > projects.len(), "Salt carries out {carried_out} of {} projects only", projects.len());
}

/// Compares ten generated projects, of which there are fifty. Each differs by its number.
fn generated_projects(part: u64) {
    let project = |seed| {
        let (files, lists) = generated::project(seed);
        (format!("project {seed}"), Project::new(&files, lists))
    };
    compare_all((part * 10..part * 10 + 10).map(project).collect());
}

#[test]
fn generated_projects_are_configured_as_by_salt_1() {
    generated_projects(0);
}

#[test]
fn generated_projects_are_configured_as_by_salt_2() {
    generated_projects(1);
}

#[test]
fn generated_projects_are_configured_as_by_salt_3() {
    generated_projects(2);
}

#[test]
fn generated_projects_are_configured_as_by_salt_4() {
    generated_projects(3);
}

#[test]
fn generated_projects_are_configured_as_by_salt_5() {
    generated_projects(4);
}

#[test]
fn templates_and_scalars_are_rendered_as_by_salt() {
    let mut states = String::new();
    let mut files = vec![
        ("project/.salt/m.jinja".to_owned(), generated::MACROS.to_owned()),
        ("pillar/init.sls".to_owned(), "o: {b: 1, a: {d: [x, {f: 1, e: 2}], c: ~}}\nl: 1\n".to_owned()),
        ("project/.salt/v.yml".to_owned(), "a: {{ 1 + 1 }}\nb: [x]\n".to_owned()),
    ];
    let context = "{d: {b: 1, a: [x, 1.5, null, true]}, l: [3, 1, 2], s: \"it's\", n: null}";
    let mut add = |name: String, text: String| {
        states += &format!("@BASE@/{name}:\n  file.managed:\n    - source: salt://{name}\n    - template: jinja\n");
        states += &format!("    - makedirs: true\n    - context: {context}\n");
        files.push((format!("project/.salt/{name}"), text));
    };
    for (number, text) in generated::TEMPLATES.iter().enumerate() {
        add(format!("template{number}"), (*text).to_owned());
    }
    for (number, text) in generated::SCALARS.iter().enumerate() {
        let text = format!(
            "{{% load_yaml as x %}}\na: {text}\n{{% endload %}}{{{{ x|json }}}} {{{{ x|yaml(False) }}}} {{{{ x }}}}\n"
        );
        add(format!("scalar{number}"), text);
    }
    files.push(("project/.salt/100_t.sls".to_owned(), states));
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    compare_all(vec![("templates".into(), Project::new(&files, false))]);
}

#[test]
fn the_example_is_configured_as_by_salt() {
    let files = example::files();
    let files: Vec<(&str, String)> = files.iter().map(|(path, text)| (path.as_str(), text.clone())).collect();
    let project = Project::new(&files, false);
    compare_all(vec![("the example".into(), project)]);
}

#[test]
fn a_link_in_the_place_of_a_file_is_followed_as_by_salt() {
    let state = "{{ '@BASE@' }}:\n  file.managed:\n    - contents: new\n".to_owned();
    let project = Project::new(&[("project/.salt/100_t.sls", state)], false);
    fs::write(project.path("target"), "old").unwrap();
    symlink("target", project.path("out")).unwrap();
    let (succeeded, ..) = project.launch();
    assert!(succeeded);
    assert_eq!(fs::read_to_string(project.path("target")).unwrap(), "new\n");
    assert!(project.path("out").is_symlink());
}

/// The module of makina-states' projects, as far as a launch calls it.
const MC_LAUNCHER: &str = "\
def reconfigure(name=None):
    return __salt__['state.sls'](['200_reconfigure'], pillar={'called': name})
";

#[test]
fn an_image_with_salt_is_configured_by_its_own_module() {
    const STATES: &str = "srv/projects/hello/project/.salt";
    let image = Image::new("cat ROOT/out; exit 7");
    let root = image.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    image.file(&format!("{STATES}/_modules/mc_launcher.py"), MC_LAUNCHER);
    let states = "{{ opts.out }}:\n  file.managed:\n    - contents: {{ pillar.called }} {{ pillar.domain }}\n";
    image.file(&format!("{STATES}/200_reconfigure.sls"), states);
    image.file("srv/projects/hello/pillar/top.sls", "base: {'*': [init]}\n");
    image.file("srv/projects/hello/pillar/init.sls", "domain: of.image\n");
    image.file("srv/projects/hello/data/configuration/pillar.sls", "domain: of.volume\n");
    let minion = json!({
        "root_dir": image.path("salt"),
        "id": "image",
        "file_client": "local",
        "out": image.path("out"),
        "module_dirs": [image.path(STATES).join("_modules")],
        "file_roots": {"base": [image.path(STATES)]},
        "pillar_roots": {"base": [image.path("srv/projects/hello/pillar")]},
    });
    image.file("salt/minion", &minion.to_string());
    image.program("salt-call", &format!("exec {}/bin/salt-call -c {root}/salt \"$@\"", salt().display()));
    let (code, output, errors) = image.launch(&["re_configure=True", "-lquiet"]);
    assert!(code == Some(7) && output.ends_with("\napp | hello of.volume\n"), "{code:?} {output}{errors}");
    assert!(output.contains("salt-call |             File ROOT/out updated\n"), "{output}");

    image.file(&format!("{STATES}/200_reconfigure.sls"), "/no/such/file:\n  file.managed:\n    - contents: x\n");
    let (code, output, errors) = image.launch(&["re_configure=True", "-lquiet"]);
    assert!(code == Some(1) && !output.contains("app |"), "{code:?} {output}");
    let end = "so the application is not started. Its messages are above.\n";
    assert!(errors.contains("launcher: salt-call ended with ") && errors.ends_with(end), "{errors}");
}
