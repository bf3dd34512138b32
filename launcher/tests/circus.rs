//! The same files, run by circusd of PyPI and by the launcher: what each process is given, when it starts, how it is
//! stopped, and how the supervisor ends. docs/circus.md lists the differences that are meant.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

#[path = "circus/generated.rs"]
mod generated;
mod random;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use generated::Generated;
use tempfile::TempDir;

/// A process that notes what it was given, and each signal that it gets. Its first words are its name and number, and
/// the third may say what else it does.
///
/// Programs are as few as possible: a test has some hundred of these, beside other tests.
const RECORD: &str = r#"#!/bin/sh
self=$1.$2
note() {
  echo "$self $1" >>DIR/signals
  [ -z "$!" ] || [ "$!" = "$child" ] || kill -9 "$!"
  [ -z "$child" ] || wait "$child"
  exit 0
}
if [ "$3" = again ] && [ ! -e "DIR/again.$self" ]; then : >"DIR/again.$self"; exit 0; fi
for signal in TERM INT QUIT USR1; do
  if [ "$3" = deaf ] || [ "$3" = ends ]; then trap '' $signal; else trap "note $signal" $signal; fi
done
if [ "$3" = child ]; then DIR/record "$1" "$2-child" & child=$!; fi
echo "output of $self"
echo "error of $self" >&2
while [ ! -e DIR/supervisor ]; do sleep 0.02; done
stat() { read -r line <"/proc/$1/stat"; set -- $line; session=$6 started=${22}; }
words=$(printf 'word [%s]\n' "$@")
{
  printf "%s\n" "$words"
  echo "folder $(pwd)"
  id
  stat $PPID; above=$session
  stat $$
  if [ "$session" = $$ ]; then echo "leads a session"; fi
  if [ "$session" = "$above" ]; then echo "is in its parent's session"; fi
  read -r supervisor <DIR/supervisor
  if [ "$PPID" = "$supervisor" ]; then echo "child of the supervisor"
  else echo "child of $(tr '\0' ' ' </proc/$PPID/cmdline)"; fi
  tr '\0' '\n' </proc/$$/environ
} >"DIR/new.$self"
echo "$started" >"DIR/started.$self"
mv "DIR/new.$self" "DIR/facts.$self"
if [ "$3" = ends ]; then exit 0; fi
# circusd kills a process before it looks for its children, so that these stay.
if [ "$3" = deaf ]; then exec sleep 1000; fi
# The shell says how its children ended.
exec 2>/dev/null
while :; do sleep 1000 & wait "$!"; done
"#;

/// What a supervisor did with a file.
#[derive(Debug, PartialEq)]
struct Seen {
    /// By the process's name and number.
    facts: BTreeMap<String, String>,
    /// Processes in the order of their starts, if there are pauses between these.
    order: Vec<String>,
    /// The signal that each process got, sorted.
    signals: Vec<String>,
    /// Files that the streams went to.
    streams: BTreeMap<String, String>,
    code: Option<i32>,
    left: usize,
}

fn circusd() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/venv");
    let packages = ["circus==0.19.0", "pyzmq==27.3.0", "tornado==6.6.1", "psutil==7.2.2"];
    let made = Command::new(script).arg("circus").args(packages).stderr(Stdio::inherit()).output().unwrap();
    assert!(made.status.success(), "circus cannot be installed");
    Path::new(String::from_utf8(made.stdout).unwrap().trim()).join("bin/circusd")
}

fn named(folder: &Path, begin: &str) -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| Some(path.file_name()?.to_str()?.strip_prefix(begin)?.to_owned());
    entries.filter_map(|path| Some((name(&path)?, fs::read_to_string(&path).ok()?))).collect()
}

/// Runs a file until its processes have started, and stops it by a signal. DIR is a folder, the same for both supervisors.
fn seen(mut supervisor: Command, folder: &Path, generated: &Generated) -> Seen {
    let Generated { ini, processes, lines, signal } = generated;
    fs::create_dir(folder).unwrap();
    fs::set_permissions(folder, Permissions::from_mode(0o1777)).unwrap();
    let dir = folder.to_str().unwrap();
    fs::write(folder.join("record"), RECORD.replace("DIR", dir)).unwrap();
    fs::set_permissions(folder.join("record"), Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("signals"), "").unwrap();
    fs::set_permissions(folder.join("signals"), Permissions::from_mode(0o666)).unwrap();
    let endpoints = format!("[circus]\nendpoint = ipc://{dir}/e\npubsub_endpoint = ipc://{dir}/p\n");
    fs::write(folder.join("circus.ini"), endpoints + &ini.replace("DIR", dir)).unwrap();
    supervisor.arg(folder.join("circus.ini")).current_dir("/").env_clear();
    supervisor.envs([("PATH", "/usr/bin:/bin"), ("HOME", "/root"), ("OWN", "1"), ("LANG", "C.UTF-8")]);
    supervisor.stdin(Stdio::null()).stdout(fs::File::create(folder.join("output")).unwrap());
    let mut child = supervisor.stderr(fs::File::create(folder.join("errors")).unwrap()).spawn().unwrap();
    fs::write(folder.join("new"), child.id().to_string()).unwrap();
    fs::rename(folder.join("new"), folder.join("supervisor")).unwrap();
    // circusd loses what it has not yet read of a process that it stops.
    let written = || named(folder, "stream.").values().map(|text| text.lines().count()).sum::<usize>();
    let is_up = |_: &mut Child| named(folder, "facts.").len() >= *processes && written() >= *lines;
    let output = || fs::read_to_string(folder.join("errors")).unwrap();
    wait(&mut child, is_up, output);
    let stop = |child: &Child| {
        assert!(Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap().success());
    };
    stop(&child);
    let is_circusd = supervisor.get_program().to_str().unwrap().ends_with("circusd");
    let (mut code, mut sent) = (None, Instant::now());
    let mut has_ended = |child: &mut Child| {
        if let Some(status) = child.try_wait().unwrap() {
            code = status.code();
            return true;
        }
        // circusd loses a signal that comes while it still starts its watchers, pauses included.
        let is_lost = || !output().contains("exiting") && sent.elapsed() > Duration::from_secs(3);
        if is_circusd && is_lost() {
            stop(child);
            sent = Instant::now();
        }
        false
    };
    wait(&mut child, &mut has_ended, output);
    let started = named(folder, "started.");
    let mut order: Vec<_> = started.iter().map(|(name, ticks)| (ticks.trim().parse::<u64>().unwrap(), name)).collect();
    order.sort();
    let mut signals: Vec<String> =
        fs::read_to_string(folder.join("signals")).unwrap_or_default().lines().map(str::to_owned).collect();
    signals.sort();
    // circusd gives a process the name of the section that its environment is in.
    let facts = |text: String| {
        let mut lines: Vec<&str> = text.split_inclusive('\n').filter(|line| !line.starts_with("__name__=")).collect();
        // An environment has no order.
        let variables = lines.iter().rposition(|line| line.starts_with("child of ")).map_or(lines.len(), |at| at + 1);
        lines[variables..].sort_unstable();
        lines.concat()
    };
    let facts = named(folder, "facts.").into_iter().map(|(name, text)| (name, facts(text))).collect();
    // Without pauses the starts are too near to one another.
    order.retain(|_| ini.contains("warmup_delay"));
    let order = order.into_iter().map(|(_, name)| name.clone()).collect();
    let streams = named(folder, "stream.").into_iter().map(|(name, text)| (name, without_numbers(&text))).collect();
    let seen = Seen { order, signals, facts, streams, code, left: left(dir) };
    fs::remove_dir_all(folder).unwrap();
    seen
}

fn wait(child: &mut Child, mut is_so: impl FnMut(&mut Child) -> bool, output: impl Fn() -> String) {
    let begun = Instant::now();
    while !is_so(child) {
        if begun.elapsed() > Duration::from_secs(40) {
            let _ = child.kill();
            panic!("it took too long: {}", output());
        }
        sleep(Duration::from_millis(10));
    }
}

/// Returns the lines of a stream in an order of their own, because processes may share it, and without the numbers of
/// processes that a time brings.
fn without_numbers(text: &str) -> String {
    let mut lines: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(" [").and_then(|(time, rest)| Some((time, rest.split_once("] | ")?))) {
            Some((time, (pid, rest))) if pid.parse::<u32>().is_ok() => format!("{time} [PID] | {rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    lines.sort();
    lines.concat()
}

/// Number of processes whose command line names the folder.
fn left(dir: &str) -> usize {
    let lines =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(dir)).count()
}

/// Asserts that both do the same with a file, and returns it.
fn same(ini: &str, processes: usize) -> Seen {
    let lines = ini.matches("_stream.filename").count();
    let generated = Generated { ini: ini.into(), processes, lines, signal: "TERM" };
    compared(&generated).unwrap_or_else(|difference| panic!("{difference}"))
}

/// Returns what both did with a file, or in what they differ.
fn compared(generated: &Generated) -> Result<Seen, String> {
    let top = TempDir::new().unwrap();
    fs::set_permissions(top.path(), Permissions::from_mode(0o755)).unwrap();
    let folder = top.path().join("run");
    let theirs = seen(Command::new(circusd()), &folder, generated);
    let mut launcher = Command::new(env!("CARGO_BIN_EXE_launcher"));
    launcher.arg("supervise");
    let ours = seen(launcher, &folder, generated);
    if theirs == ours {
        return Ok(ours);
    }
    let differing = |name: &&String| theirs.facts.get(*name) != ours.facts.get(*name);
    let names: Vec<&String> = theirs.facts.keys().chain(ours.facts.keys()).filter(differing).collect();
    let of = |seen: &Seen| {
        let facts: Vec<_> = names.iter().map(|name| (name, seen.facts.get(*name))).collect();
        let Seen { order, signals, streams, code, left, .. } = seen;
        format!("{facts:#?}\n{order:?} {signals:?} {streams:?} {code:?} {left}")
    };
    Err(format!("{}\ncircusd: {}\nours: {}", generated.ini, of(&theirs), of(&ours)))
}

#[test]
fn words_variables_and_processes() {
    let ini = r#"
[watcher:plain]
cmd = DIR/record plain 1 a #b 'c d' "e\"f" x#y \# '' ~ $HOME
[watcher:args]
cmd = DIR/record
args = args $(circus.wid) ((circus.wid)) $(circus.env.HOME) $(circus.priority) $(circus.none)
numprocesses = 3
priority = 7
[watcher:shell]
cmd = exec DIR/record shell 1 "two words" $((1 + 1))
shell = True
"#;
    let seen = same(ini, 5);
    assert!(seen.facts["plain.1"].contains("word [#b]\nword [c d]\nword [e\"f]\nword [x#y]\nword [#]\nword []\n"));
    assert_eq!((seen.code, seen.left), (Some(0), 0));
}

#[test]
fn environments() {
    let ini = r#"
[env]
SHARED = of all
OWN = replaced
[env:some,o*]
MINE = $HOME/x
UPPER_lower = $home
[watcher:none]
cmd = DIR/record none 1
env.A = ignored
[watcher:some]
cmd = DIR/record some 1
[watcher:other]
cmd = DIR/record other 1 $(circus.env.MINE) $(circus.env.own)
copy_env = True
"#;
    let seen = same(ini, 3);
    assert!(seen.facts["other.1"].contains("PATH=/usr/bin:/bin\n") && !seen.facts["none.1"].contains("PATH="));
}

#[test]
fn users_and_folders() {
    let ini = r#"
[watcher:name]
cmd = DIR/record name 1
uid = nobody
working_dir = /usr
[watcher:number]
cmd = DIR/record number 1
uid = 1
gid = 2
[watcher:group]
cmd = DIR/record group 1
gid = daemon
"#;
    same(ini, 3);
}

#[test]
fn priorities_and_signals() {
    let ini = r#"
warmup_delay = 1
[watcher:last]
cmd = DIR/record last 1
[watcher:first]
cmd = DIR/record first $(circus.wid)
priority = 10
numprocesses = 2
warmup_delay = 1
stop_signal = INT
[watcher:second]
cmd = DIR/record second 1
priority = 5
stop_signal = QUIT
[watcher:never]
cmd = DIR/record never 1
autostart = False
[watcher:numbered]
cmd = DIR/record numbered 1
priority = -1
stop_signal = 10
"#;
    let seen = same(ini, 5);
    assert_eq!(seen.order, ["first.1", "first.2", "second.1", "last.1", "numbered.1"]);
    assert_eq!(seen.signals, ["first.1 INT", "first.2 INT", "last.1 TERM", "numbered.1 USR1", "second.1 QUIT"]);
}

#[test]
fn streams() {
    let ini = r#"
[watcher:both]
cmd = DIR/record both 1
stdout_stream.class = FileStream
stdout_stream.filename = DIR/stream.out
stderr_stream.class = FileStream
stderr_stream.filename = DIR/stream.err
"#;
    let seen = same(ini, 1);
    assert_eq!(seen.streams["out"], "output of both.1\n");
}

/// Compares five generated files, of which there are fifty.
fn generated_files(part: u64) {
    let differences: Vec<String> = (part * 5..part * 5 + 5)
        .filter_map(|seed| {
            compared(&generated::file(seed)).err().map(|difference| format!("file {seed}: {difference}"))
        })
        .collect();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n\n"));
}

/// Makes tests of the parts, which run side by side.
macro_rules! generated_files_run_as_by_circusd {
    ($($name:ident $part:literal)*) => {
        mod generated_files_run_as_by_circusd {
            $(#[test]
            fn $name() {
                super::generated_files($part);
            })*
        }
    };
}

generated_files_run_as_by_circusd! {
    part_0 0 part_1 1 part_2 2 part_3 3 part_4 4 part_5 5 part_6 6 part_7 7 part_8 8 part_9 9
}

/// The processes of `examples/registry`, in whose place others note what they are given, for an account that each
/// machine has.
#[test]
fn the_example_runs_as_by_circusd() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/registry/.salt/files/circus.ini");
    let mut ini = fs::read_to_string(file).unwrap().replace("uid = docker-registry", "uid = nobody");
    for (program, name) in [("docker-registry serve", "registry 1"), ("nginx -g", "nginx 1")] {
        assert!(ini.contains(program));
        ini = ini.replace(&format!("cmd = {program}"), &format!("cmd = DIR/record {name}"));
    }
    let seen = same(&ini, 2);
    assert_eq!(seen.signals, ["nginx.1 QUIT", "registry.1 TERM"]);
    assert!(seen.facts["nginx.1"].contains("word [daemon off;]\n"));
}
