//! A folder with the layout of an image of the makina-states convention, whose project is `hello`.
#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

pub struct Image {
    folder: TempDir,
}

/// How a launch ended: its exit code, standard output and standard error, in which ROOT is the folder.
pub type Ended = (Option<i32>, String, String);

impl Image {
    /// An image whose only process is `app`, a line of a shell. ROOT in it is the folder.
    pub fn new(app: &str) -> Self {
        Self::at(tempfile::tempdir().unwrap(), app)
    }

    /// An image in memory: a launch syncs the file system, which takes as long as others write to it.
    pub fn in_memory(app: &str) -> Self {
        Self::at(tempfile::tempdir_in("/dev/shm").unwrap(), app)
    }

    fn at(folder: TempDir, app: &str) -> Self {
        let image = Self { folder };
        let app = app.replace("ROOT", image.root());
        image.file("etc/circus.ini", &format!("[watcher:app]\ncmd = sh -c '{app}'\nrespawn = False\n"));
        image.file("srv/projects/hello/project/Dockerfile", "");
        fs::create_dir(image.path("bin")).unwrap();
        image
    }

    fn root(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn file(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    /// Puts a script into `bin`, which is the first folder of PATH.
    pub fn program(&self, name: &str, script: &str) {
        let path = format!("bin/{name}");
        self.file(&path, &format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(self.path(&path), Permissions::from_mode(0o755)).unwrap();
    }

    /// Returns what a file has, or why it cannot be read.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| format!("{error}"))
    }

    pub fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    /// A launch with its output in pipes.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_launcher"));
        command.arg("launch").args(words).arg(format!("--root={}", self.root()));
        command.env("PATH", format!("{}:/usr/bin:/bin", self.path("bin").display()));
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub fn launch(&self, words: &[&str]) -> Ended {
        self.ended(self.command(words).spawn().unwrap())
    }

    /// Waits for a launch.
    pub fn ended(&self, child: Child) -> Ended {
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap().replace(self.root(), "ROOT");
        (status.code(), text(stdout), text(stderr))
    }
}

/// Names in a folder, sorted.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}
