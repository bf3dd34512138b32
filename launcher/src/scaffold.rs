//! A new project of the makina-states convention, and the volume of its data.
//!
//! The files are in `launcher/scaffold/`, where `@NAME@` stands for the project's name.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::Problem;

macro_rules! template {
    ($name:literal) => {
        include_str!(concat!("../scaffold/", $name))
    };
}

/// The files of a project: path, mode, content.
const PROJECT: [(&str, u32, &str); 10] = [
    ("Dockerfile", 0o644, template!("Dockerfile")),
    (".dockerignore", 0o644, template!("dockerignore")),
    ("bin/launch.sh", 0o755, template!("launch.sh")),
    ("bin/serve", 0o755, template!("serve")),
    (SAMPLE, 0o644, template!("PILLAR.sample")),
    (".salt/100_directories.sls", 0o644, template!("100_directories.sls")),
    (".salt/200_reconfigure.sls", 0o644, template!("200_reconfigure.sls")),
    (".salt/400_circus.sls", 0o644, template!("400_circus.sls")),
    (".salt/files/app.conf", 0o644, template!("app.conf")),
    (".salt/files/circus.ini", 0o644, template!("circus.ini")),
];
const SAMPLE: &str = ".salt/PILLAR.sample";

/// Largest number of characters of a name, with which others are made, such as that of a container.
const LONGEST_NAME: usize = 64;

/// The folders of a volume. Passwords are in `configuration`, and keys that open the container in `ssh`, so that both
/// are closed; the application makes its own rules in `data`.
const VOLUME: [(&str, u32); 3] = [("configuration", 0o700), ("data", 0o755), ("ssh", 0o700)];

/// The two folders of a new project.
#[derive(Debug)]
pub struct Scaffold {
    pub project: PathBuf,
    /// The folder to mount at `/srv/projects/NAME/data`.
    pub volume: PathBuf,
}

impl fmt::Display for Scaffold {
    /// Writes what was made, and what to do next.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (project, volume) = (self.project.display(), self.volume.display());
        let name = self.project.file_name().unwrap_or_default().display();
        write!(
            f,
            "\
{project} is the project. Put your application into its Dockerfile, and commit it.
{volume} is its volume. Edit configuration/pillar.sls, and put public keys into ssh/.
Run its image: docker run -ti -v {volume}:/srv/projects/{name}/data IMAGE
"
        )
    }
}

/// Writes the project `NAME` into the folder `parent`, and its data beside it into `NAME_data`, or into the folder
/// `data`. The project gets a copy of the program `launcher`, because its image runs it.
///
/// # Errors
/// The name cannot be a folder's, one of the two folders exists, the data would be inside of a project, or a file cannot
/// be written. Nothing is left then.
pub fn write(parent: &Path, name: &str, data: Option<&Path>, launcher: &Path) -> Result<Scaffold, Problem> {
    check_name(name)?;
    let project = resolved(&parent.join(name))?;
    let data = resolved(&data.map_or_else(|| parent.join(format!("{name}_data")), Path::to_owned))?;
    if let Some(around) = data.ancestors().find(|folder| **folder == *project || folder.join(SAMPLE).is_file()) {
        let text = format!("The data would be inside of the project {}. Choose a folder outside.", around.display());
        return Err(Problem::with(&data, text));
    }
    for (folder, instead) in [(&project, "choose another name"), (&data, "name another folder by --data=FOLDER")] {
        if folder.symlink_metadata().is_ok() {
            let text = format!("It exists, and nothing is overwritten. Move it, or {instead}.");
            return Err(Problem::with(folder, text));
        }
    }
    let program = read_program(launcher)?;
    let parents = Parents::make(&data)?;
    let made = New::make(&data, |new| {
        new.directory("volume", 0o755)?;
        for (path, mode) in VOLUME {
            new.directory(&format!("volume/{path}"), mode)?;
        }
        new.file("volume/configuration/pillar.sls", 0o600, filled(template!("PILLAR.sample"), name).as_bytes())
    })?;
    let project_made = New::make(&project, |new| {
        for path in ["bin", ".salt", ".salt/files"] {
            new.directory(path, 0o755)?;
        }
        for (path, mode, text) in PROJECT {
            new.file(path, mode, filled(text, name).as_bytes())?;
        }
        new.file("bin/launcher", 0o755, &program)
    })?;
    made.place()?;
    if let Err(problem) = project_made.place() {
        // Nobody has used the folder that was new a moment ago.
        let _ = fs::remove_dir_all(&data);
        return Err(problem);
    }
    parents.keep();
    Ok(Scaffold { project, volume: data.join("volume") })
}

/// Checks that a name can be a folder's, a watcher's, and an image's, whose rule is the strictest (distribution's
/// reference grammar: `path-component`).
fn check_name(name: &str) -> Result<(), Problem> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let rule = if name.is_empty() {
        "The project needs a name."
    } else if !name.chars().all(|c| is_plain(c) || "-_.".contains(c)) {
        "Take small letters, digits, `-`, `_` and `.`."
    } else if !name.starts_with(is_plain) || !name.ends_with(is_plain) {
        "Begin and end it with a small letter or a digit."
    } else if name.split(is_plain).any(|mark| ![".", "_", "__"].contains(&mark) && !mark.chars().all(|c| c == '-')) {
        "Write one `.`, `_` or `-` between two letters."
    } else if name.len() > LONGEST_NAME {
        return Err(Problem::new(format!("`{name}` is no name of a project. Take {LONGEST_NAME} characters at most.")));
    } else {
        return Ok(());
    };
    Err(Problem::new(format!("`{name}` is no name of a project. {rule}")))
}

/// Reads the program that is copied, so that its errors are told from those of the copy.
fn read_program(launcher: &Path) -> Result<Vec<u8>, Problem> {
    fs::read(launcher).map_err(|error| {
        Problem::with(launcher, format!("{error}. The image needs the program `launcher`, so install it there."))
    })
}

fn filled(template: &str, name: &str) -> String {
    template.replace("@NAME@", name)
}

/// Returns the path without links, of which the last folders may be missing.
fn resolved(path: &Path) -> Result<PathBuf, Problem> {
    let mut missing = Vec::new();
    let mut there = std::path::absolute(path).map_err(|error| Problem::with(path, error))?;
    loop {
        match (there.canonicalize(), there.file_name()) {
            (Ok(found), _) => return Ok(missing.iter().rev().fold(found, |path, name| path.join(name))),
            (Err(error), Some(name)) if error.kind() == io::ErrorKind::NotFound => missing.push(name.to_owned()),
            (Err(error), _) => return Err(Problem::with(path, error)),
        }
        there.pop();
    }
}

/// The folders above the data that are made for it, which go again unless all is well.
struct Parents(Vec<PathBuf>);

impl Parents {
    fn make(data: &Path) -> Result<Self, Problem> {
        let missing: Vec<&Path> = data.ancestors().skip(1).take_while(|folder| !folder.exists()).collect();
        let mut made = Self(Vec::new());
        for folder in missing.into_iter().rev() {
            DirBuilder::new().create(folder).map_err(|error| Problem::with(folder, error))?;
            made.0.push(folder.to_owned());
        }
        Ok(made)
    }

    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Parents {
    fn drop(&mut self) {
        // What others have put there meanwhile stays, and so do the folders above it.
        self.0.iter().rev().all(|folder| fs::remove_dir(folder).is_ok());
    }
}

/// A folder that is written beside its place, and removed unless it is put there.
struct New<'a> {
    beside: PathBuf,
    target: &'a Path,
}

impl<'a> New<'a> {
    fn make(target: &'a Path, fill: impl FnOnce(&Self) -> Result<(), Problem>) -> Result<Self, Problem> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let beside = target.with_file_name(name);
        DirBuilder::new().create(&beside).map_err(|error| Problem::with(target, error))?;
        let new = Self { beside, target };
        new.directory("", 0o755)?;
        fill(&new)?;
        Ok(new)
    }

    /// Makes a folder with this mode, whatever the umask is.
    fn directory(&self, path: &str, mode: u32) -> Result<(), Problem> {
        let folder = self.beside.join(path);
        let made = DirBuilder::new().recursive(true).mode(mode).create(&folder);
        made.and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(mode)))
            .map_err(|error| self.problem(path, &error))
    }

    fn file(&self, path: &str, mode: u32, content: &[u8]) -> Result<(), Problem> {
        let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(self.beside.join(path));
        let write = |mut file: File| {
            file.write_all(content)?;
            file.set_permissions(Permissions::from_mode(mode))
        };
        opened.and_then(write).map_err(|error| self.problem(path, &error))
    }

    /// Names a file by the place that it would have had.
    fn problem(&self, path: &str, error: &io::Error) -> Problem {
        let place = if path.is_empty() { self.target.to_owned() } else { self.target.join(path) };
        Problem::with(&place, format!("{error}. Nothing is left of the new folders."))
    }

    /// Puts the folder in its place, where nothing is.
    fn place(self) -> Result<(), Problem> {
        renameat_with(CWD, &self.beside, CWD, self.target, RenameFlags::NOREPLACE)
            .map_err(|error| Problem::with(self.target, error))
    }
}

impl Drop for New<'_> {
    fn drop(&mut self) {
        // It is missing if it was put in its place.
        let _ = fs::remove_dir_all(&self.beside);
    }
}
