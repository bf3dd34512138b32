//! `launcher scaffold`.
#![allow(clippy::disallowed_methods, reason = "tests start programs by hand")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn scaffold(folder: &Path, words: &[&str]) -> Output {
    // A strict umask must not close the project's files.
    let mut command = Command::new("sh");
    command.args(["-c", "umask 077; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_launcher"), "scaffold"]).args(words);
    command.current_dir(folder).output().unwrap()
}

fn refused(folder: &Path, words: &[&str]) -> String {
    let output = scaffold(folder, words);
    assert_eq!((output.status.code(), output.stdout), (Some(1), Vec::new()));
    String::from_utf8(output.stderr).unwrap().replace(folder.canonicalize().unwrap().to_str().unwrap(), "DIR")
}

/// Each path below a folder with its mode, sorted.
fn tree(folder: &Path) -> Vec<String> {
    fn walk(top: &Path, folder: &Path, found: &mut Vec<String>) {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            let mode = path.symlink_metadata().unwrap().permissions().mode() & 0o7777;
            found.push(format!("{} {mode:o}", path.strip_prefix(top).unwrap().display()));
            if path.is_dir() && !path.is_symlink() {
                walk(top, &path, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(folder, folder, &mut found);
    found.sort();
    found
}

#[test]
fn a_project_and_its_volume_have_the_rights_of_the_convention() {
    let folder = TempDir::new().unwrap();
    let output = scaffold(folder.path(), &["hello"]);
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    let expected = [
        "hello 755",
        "hello/.dockerignore 644",
        "hello/.salt 755",
        "hello/.salt/100_directories.sls 644",
        "hello/.salt/200_reconfigure.sls 644",
        "hello/.salt/400_circus.sls 644",
        "hello/.salt/PILLAR.sample 644",
        "hello/.salt/files 755",
        "hello/.salt/files/app.conf 644",
        "hello/.salt/files/circus.ini 644",
        "hello/Dockerfile 644",
        "hello/bin 755",
        "hello/bin/launch.sh 755",
        "hello/bin/launcher 755",
        "hello/bin/serve 755",
        "hello_data 755",
        "hello_data/volume 755",
        "hello_data/volume/configuration 700",
        "hello_data/volume/configuration/pillar.sls 600",
        "hello_data/volume/data 755",
        "hello_data/volume/ssh 700",
    ];
    assert_eq!(tree(folder.path()), expected);
    for (path, _) in expected.iter().filter_map(|line| line.split_once(' ')) {
        let text = fs::read(folder.path().join(path)).unwrap_or_default();
        assert!(path.ends_with("launcher") || !text.windows(6).any(|part| part == b"@NAME@"), "{path}");
    }
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("hello_data/volume:/srv/projects/hello/data IMAGE"), "{said}");
}

#[test]
fn nothing_is_overwritten() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("hello_data")).unwrap();
    let exists = |instead: &str| format!(": It exists, and nothing is overwritten. Move it, or {instead}.\n");
    let (name, data) = (exists("choose another name"), exists("name another folder by --data=FOLDER"));
    assert_eq!(refused(folder.path(), &["hello"]), format!("launcher: DIR/hello_data{data}"));
    assert_eq!(refused(folder.path(), &["hello", "--data=."]), format!("launcher: DIR{data}"));
    assert_eq!(scaffold(folder.path(), &["hello", "--data=elsewhere/data"]).status.code(), Some(0));
    let before = tree(folder.path());
    assert_eq!(refused(folder.path(), &["hello", "--data=third"]), format!("launcher: DIR/hello{name}"));
    assert_eq!(tree(folder.path()), before);
    let unclear = scaffold(folder.path(), &["other", "--data="]);
    let expected = "`--data=` names no folder. Write --data=FOLDER, or leave it out.\n";
    assert_eq!((unclear.status.code(), unclear.stderr), (Some(64), expected.into()));
    assert_eq!(tree(folder.path()), before);
}

/// A small file system has no room for the launcher's copy. The messages name the files as they would have been.
#[test]
fn a_full_disk_leaves_nothing_behind() {
    let folder = TempDir::new().unwrap();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let run = |words: &str| {
        let launcher = env!("CARGO_BIN_EXE_launcher");
        let at = small.display();
        let script = format!(
            "mount -t tmpfs -o size=100k none {at} && cd {at} && {launcher} scaffold {words}; find . -mindepth 1"
        );
        let output = Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap();
        let text =
            |bytes| String::from_utf8(bytes).unwrap().replace(small.canonicalize().unwrap().to_str().unwrap(), "DIR");
        (text(output.stdout), text(output.stderr))
    };
    let full = "No space left on device (os error 28). Nothing is left of the new folders.\n";
    let expected = format!("launcher: DIR/hello/bin/launcher: {full}");
    assert_eq!(run("hello"), (String::new(), expected.clone()));
    assert_eq!(run("hello --data=a/b/c"), (String::new(), expected));
    let (left, said) = run("hello --data=/proc/no/such");
    assert!(left.is_empty() && said.starts_with("launcher: /proc/no: "), "{left}{said}");
}

#[test]
fn data_inside_of_a_project_is_refused() {
    let folder = TempDir::new().unwrap();
    let inside =
        |around: &str| format!("The data would be inside of the project DIR/{around}. Choose a folder outside.\n");
    for data in ["hello", "hello/data", "./hello/./data", "link/hello/data"] {
        let _ = std::os::unix::fs::symlink(".", folder.path().join("link"));
        let said = refused(folder.path(), &["hello", &format!("--data={data}")]);
        assert!(said.ends_with(&inside("hello")), "{data}: {said}");
    }
    assert_eq!(tree(folder.path()), ["link 777"]);
    assert_eq!(scaffold(folder.path(), &["hello"]).status.code(), Some(0));
    let said = refused(&folder.path().join("hello/bin"), &["other"]);
    assert!(said.contains("The data would be inside of the project"), "{said}");
}

#[test]
fn a_name_is_one_of_a_folder_and_an_image() {
    let folder = TempDir::new().unwrap();
    let long = "x".repeat(65);
    for (name, rule) in [
        ("Hello", "Take small letters, digits, `-`, `_` and `.`."),
        ("../x", "Take small letters, digits, `-`, `_` and `.`."),
        ("a b", "Take small letters, digits, `-`, `_` and `.`."),
        ("é", "Take small letters, digits, `-`, `_` and `.`."),
        (".x", "Begin and end it with a small letter or a digit."),
        ("x_", "Begin and end it with a small letter or a digit."),
        ("a..b", "Write one `.`, `_` or `-` between two letters."),
        ("a.-b", "Write one `.`, `_` or `-` between two letters."),
        (&long, "Take 64 characters at most."),
        ("", "The project needs a name."),
    ] {
        assert_eq!(refused(folder.path(), &[name]), format!("launcher: `{name}` is no name of a project. {rule}\n"));
    }
    assert_eq!(scaffold(folder.path(), &[]).status.code(), Some(64));
    assert_eq!(tree(folder.path()), [""; 0]);
    for name in ["a", "1.b_c-d", "a--b__c"] {
        assert_eq!(scaffold(folder.path(), &[name]).status.code(), Some(0), "{name}");
    }
}
