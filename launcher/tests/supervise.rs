//! `launcher supervise`, with processes of a shell.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);

fn start(folder: &Path, ini: &str) -> Child {
    let file = folder.join("circus.ini");
    fs::write(&file, ini.replace("DIR", folder.to_str().unwrap())).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_launcher"));
    command.arg("supervise").arg(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs a file to its end. Returns the exit code, standard output and standard error, in which DIR is the folder.
fn run(ini: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    ended(start(folder.path(), ini), folder.path())
}

fn ended(child: Child, folder: &Path) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(folder.to_str().unwrap(), "DIR");
    (status.code(), text(stdout), text(stderr))
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "{what} took too long");
        sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

fn read(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap_or_default()
}

/// Processes whose command line has this word.
fn alive(word: &str) -> bool {
    let lines =
        fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.into_iter().any(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

#[test]
fn lines_carry_the_name_and_the_code_is_the_applications() {
    let ini = r#"
[watcher:app]
cmd = sh -c "echo one; echo two >&2; printf three; exit 7"
respawn = False
[watcher:other]
cmd = sleep 1000
priority = -1
"#;
    let (code, stdout, stderr) = run(ini);
    assert_eq!((code, &*stdout), (Some(7), "app | one\napp | three\n"));
    assert_eq!(stderr, "app | two\nlauncher | app ended with 7\n");
}

#[test]
fn a_task_that_succeeds_stops_no_other() {
    let ini = "[watcher:task]\ncmd = true\nrespawn = False\npriority = 9\n[watcher:app]\ncmd = sh -c 'sleep 0.3; exit 3'\nrespawn = False\n";
    assert_eq!(run(ini).0, Some(3));
    assert_eq!(run("[watcher:task]\ncmd = true\nrespawn = False\n").0, Some(0));
}

#[test]
fn a_process_that_was_killed_ends_the_launch_as_a_shell_says_it() {
    let (code, _, stderr) = run("[watcher:app]\ncmd = sh -c 'kill -9 $$'\nrespawn = False\n");
    assert_eq!((code, &*stderr), (Some(137), "launcher | app was killed by SIGKILL\n"));
}

#[test]
fn an_application_that_keeps_dying_is_given_up() {
    let ini = "[watcher:app]\ncmd = sh -c 'echo x >>DIR/starts; exit 4'\nmax_retry = 2\n";
    let folder = tempfile::tempdir().unwrap();
    let (code, _, stderr) = ended(start(folder.path(), ini), folder.path());
    assert_eq!((code, &*read(folder.path(), "starts")), (Some(4), "x\nx\nx\n"));
    assert!(stderr.ends_with("launcher | app ended with 4, 3 times in a row: it is given up\n"), "{stderr}");
}

#[test]
fn signals_stop_in_reverse_order_and_leave_nothing() {
    for name in ["TERM", "INT", "QUIT", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let word = format!("left-{name}-{}", std::process::id());
        let ini = format!(
            r#"
[watcher:first]
cmd = sh -c "setsid sh -c 'trap : TERM; while :; do sleep 0.1; done' {word} & trap 'echo first >>DIR/order; exit' TERM; echo >>DIR/ready; while :; do sleep 0.05; done"
priority = 2
[watcher:second]
cmd = sh -c "sh -c 'sleep 1000; :' {word} & trap 'sleep 0.3; echo second >>DIR/order; exit' USR1; echo >>DIR/ready; while :; do sleep 0.05; done"
stop_signal = SIGUSR1
priority = 1
"#
        );
        let child = start(folder.path(), &ini);
        wait_for("the start", || read(folder.path(), "ready").len() == 2);
        signal(&child, name);
        assert_eq!(ended(child, folder.path()), (Some(0), String::new(), String::new()), "{name}");
        assert_eq!(read(folder.path(), "order"), "second\nfirst\n", "{name}");
        assert!(!alive(&word), "{name} left a process");
    }
}

#[test]
fn what_does_not_stop_is_killed() {
    let ini = "[watcher:app]\ncmd = sh -c \"trap '' TERM; echo >DIR/ready; while :; do sleep 0.05; done\"\ngraceful_timeout = TIME\n";
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), &ini.replace("TIME", "0.2"));
    wait_for("the start", || !read(folder.path(), "ready").is_empty());
    signal(&child, "TERM");
    let expected = "launcher | app did not stop in time and is killed\n";
    assert_eq!(ended(child, folder.path()), (Some(0), String::new(), expected.into()));

    // Each has its own time, also beside one that has more.
    let patient = "[watcher:patient]\ncmd = sh -c \"trap 'wait $!' TERM; (until grep -qs x DIR/late; do sleep 0.02; done) & wait\"\n";
    let ini = format!("{}{patient}graceful_timeout = 1000\n", ini.replace("TIME", "0.1"));
    let folder = tempfile::tempdir().unwrap();
    let mut child = start(folder.path(), &ini);
    wait_for("the start", || !read(folder.path(), "ready").is_empty());
    signal(&child, "TERM");
    let mut said = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, "launcher | app did not stop in time and is killed\n");
    fs::write(folder.path().join("late"), "x").unwrap();
    assert_eq!(ended(child, folder.path()), (Some(0), String::new(), String::new()));

    // A second signal does not wait for the time.
    let folder = tempfile::tempdir().unwrap();
    let child = start(folder.path(), &ini.replace("TIME", "1000"));
    wait_for("the start", || !read(folder.path(), "ready").is_empty());
    signal(&child, "TERM");
    sleep(Duration::from_millis(100));
    signal(&child, "TERM");
    assert_eq!(ended(child, folder.path()).0, Some(0));
}

#[test]
fn a_process_has_the_environment_and_the_words_of_its_watcher() {
    let ini = r#"
[env]
SHARED = $HOME/all
[env:a*]
OWN = mine
[watcher:app]
cmd = sh -c 'env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort; pwd; echo $0 $1' $(circus.wid)
args = "((circus.env.OWN)) $(circus.nothing)"
working_dir = /usr
respawn = False
"#;
    let (code, stdout, stderr) = run(ini);
    let home = std::env::var("HOME").unwrap();
    let expected = format!("app | OWN=mine\napp | SHARED={home}/all\napp | /usr\napp | 1 mine $(circus.nothing)\n");
    assert_eq!((code, stdout, &*stderr), (Some(0), expected, "launcher | app ended with 0\n"));
}

#[test]
fn output_goes_to_files_that_are_rotated() {
    let ini = r#"
[watcher:app]
cmd = sh -c 'for i in 1 2 3 4 5 6; do echo line $i; until grep -qs "line $i" DIR/app.log; do sleep 0.02; done; done'
respawn = False
stdout_stream.class = FileStream
stdout_stream.filename = DIR/app.log
stdout_stream.max_bytes = 15
stdout_stream.backup_count = 1
"#;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        ended(start(folder.path(), ini), folder.path()),
        (Some(0), String::new(), "launcher | app ended with 0\n".into())
    );
    assert_eq!(read(folder.path(), "app.log.1") + &read(folder.path(), "app.log"), "line 3\nline 4\nline 5\nline 6\n");
}

#[test]
fn mistakes_are_named_with_their_line() {
    let fails = |ini: &str| {
        let (code, stdout, stderr) = run(ini);
        assert_eq!((code, &*stdout), (Some(1), ""), "{stderr}");
        stderr
    };
    for (ini, expected) in [
        (
            "[watcher:a]\ncmd = true\nhooks.before_start = my.hook\n",
            "3: `hooks.before_start` is not carried out here. Put the step into the command, as a script.",
        ),
        (
            "[watcher:a]\ncmd = true\nstop_signal = SIGNONE\n",
            "3: `stop_signal` is `SIGNONE`. Write a signal like TERM.",
        ),
        ("[watcher:a]\ncmd = true 'x\n", "1: `cmd` has a quote without an end: true 'x"),
        (
            "[watcher:a]\ncmd = true\nuid = nobody-here\n",
            "1: The image has no user nobody-here. Create it in the Dockerfile, or correct `uid`.",
        ),
        ("\n[watcher:a]\nargs = x\n", "2: The watcher has no `cmd`. Name its program."),
        ("[plugin:x]\nuse = y\n", "1: Plugins are not run here. Take the section out."),
        (
            "[watcher:a]\ncmd = true\nstderr_stream.filename = /no/such/log\n",
            "1: /no/such/log: No such file or directory (os error 2). Create its folder, or correct the name.",
        ),
    ] {
        assert_eq!(fails(ini), format!("launcher: DIR/circus.ini:{expected}\n"));
    }
    let (code, _, stderr) = run("[watcher:a]\ncmd = true\nrespawn = no\ncolour = red\n");
    let expected = "launcher | DIR/circus.ini:4: `colour` is no option of a watcher and has no effect but as $(circus.colour).\nlauncher | a ended with 0\n";
    assert_eq!((code, &*stderr), (Some(0), expected));
}

#[test]
fn what_does_not_start_is_named() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("closed"), "#!/bin/sh\n").unwrap();
    fs::write(folder.path().join("lost"), "#!/no/such\n").unwrap();
    fs::set_permissions(folder.path().join("lost"), Permissions::from_mode(0o755)).unwrap();
    for (options, code, text) in [
        ("cmd = /no/such\n", 127, "/no/such is missing. Correct the path, or put the program there."),
        (
            "cmd = $(circus.env.NOSUCH) x\n",
            127,
            "$(circus.env.NOSUCH) has a variable that is not set. Set it in `[env]`, or write `copy_env = True`.",
        ),
        ("cmd = nosuch\n", 127, "nosuch is not in /bin:/usr/bin. Write its whole path, or `copy_env = True`."),
        (
            "cmd = DIR/closed\n",
            126,
            "DIR/closed may not be run by its user. Make it executable in the Dockerfile (chmod a+x).",
        ),
        ("cmd = DIR/lost\n", 127, "DIR/lost names a program in its first line that is missing. Correct the line."),
        (
            "cmd = true\nworking_dir = /no/such\n",
            126,
            "the folder /no/such is missing. Create it, or correct `working_dir`.",
        ),
        (
            "cmd = nosuch\n[env:a]\nPATH = /x\n",
            127,
            "nosuch is not in /x. Install it in the Dockerfile, or write its whole path.",
        ),
    ] {
        let ended = ended(start(folder.path(), &format!("[watcher:a]\n{options}")), folder.path());
        let said = format!("launcher | DIR/circus.ini:1: a does not start: {text}\n");
        assert_eq!(ended, (Some(code), String::new(), said), "{options}");
    }
}

#[test]
fn a_file_by_which_nothing_starts_is_refused() {
    let none = "[watcher:a]\ncmd = true\nnumprocesses = 0\n[watcher:b]\ncmd = true\nautostart = False\n";
    let expected = "launcher: DIR/circus.ini: Nothing starts, because each watcher has `numprocesses = 0` or `autostart = False`. Change one.\n";
    assert_eq!(run(none), (Some(1), String::new(), expected.into()));
    let (code, _, stderr) = run(&format!("{none}[watcher:c]\ncmd = true\nrespawn = False\n"));
    let expected =
        "launcher | DIR/circus.ini:3: a starts no process by `numprocesses = 0`.\nlauncher | c ended with 0\n";
    assert_eq!((code, &*stderr), (Some(0), expected));
}

#[test]
fn lines_have_the_time_that_a_stream_asks_for() {
    let ini = r#"
[watcher:app]
cmd = sh -c 'echo $$; echo; printf two >&2'
respawn = False
stdout_stream.class = FancyStdoutStream
stderr_stream.filename = DIR/err
stderr_stream.time_format = <%Y %%>
"#;
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, _) = ended(start(folder.path(), ini), folder.path());
    let lines: Vec<&str> = stdout.lines().collect();
    let [first, second] = lines[..] else { panic!("{stdout}") };
    let (time, pid) = first.strip_prefix("app | ").unwrap().split_once(" | ").unwrap();
    let end = format!(" [{pid}]");
    assert!(time.starts_with("20") && time.ends_with(&end) && time.len() == 19 + end.len(), "{stdout}");
    // The second line may be of another second.
    assert!(second.starts_with("app | 20") && second.ends_with(&format!("{end} | ")), "{stdout}");
    let written = read(folder.path(), "err");
    assert!(
        code == Some(0) && written.starts_with("<20") && written.ends_with(&format!(" %> [{pid}] | two")),
        "{written}"
    );
}
