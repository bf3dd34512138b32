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
    if !is_name(name) {
        let text = format!("`{name}` is no name of a project. Take small letters, digits, `-`, `_` and `.`.");
        return Err(Problem::new(text));
    }
    let project = resolved(&parent.join(name))?;
    let data = resolved(&data.map_or_else(|| parent.join(format!("{name}_data")), Path::to_owned))?;
    if let Some(around) = data.ancestors().find(|folder| **folder == *project || folder.join(SAMPLE).is_file()) {
        let text = format!("The data would be inside of the project {}. Choose a folder outside.", around.display());
        return Err(Problem::with(&data, text));
    }
    for folder in [&project, &data] {
        if folder.symlink_metadata().is_ok() {
            return Err(Problem::with(
                folder,
                "It exists, and nothing is overwritten. Move it, or choose another name.",
            ));
        }
    }
    let made = New::make(&data, |folder| {
        directory(&folder.join("volume"), 0o755)?;
        for (path, mode) in VOLUME {
            directory(&folder.join("volume").join(path), mode)?;
        }
        file(&folder.join("volume/configuration/pillar.sls"), 0o600, &filled(template!("PILLAR.sample"), name))
    })?;
    let project_made = New::make(&project, |folder| {
        for path in ["bin", ".salt", ".salt/files"] {
            directory(&folder.join(path), 0o755)?;
        }
        for (path, mode, text) in PROJECT {
            file(&folder.join(path), mode, &filled(text, name))?;
        }
        let copy = folder.join("bin/launcher");
        fs::copy(launcher, &copy).map_err(|error| {
            Problem::with(launcher, format!("{error}. The image needs the program `launcher`, so install it there."))
        })?;
        fs::set_permissions(&copy, Permissions::from_mode(0o755)).map_err(|error| Problem::with(&copy, error))
    })?;
    made.place()?;
    if let Err(problem) = project_made.place() {
        // Nobody has used the folder that was new a moment ago.
        let _ = fs::remove_dir_all(&data);
        return Err(problem);
    }
    Ok(Scaffold { project, volume: data.join("volume") })
}

/// True for a name that can be a folder's, an image's and a watcher's.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    name.len() <= 64 && name.starts_with(is_plain) && name.chars().all(|c| is_plain(c) || "-_.".contains(c))
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

/// A folder that is written beside its place, and removed unless it is put there.
struct New<'a> {
    beside: PathBuf,
    target: &'a Path,
}

impl<'a> New<'a> {
    fn make(target: &'a Path, fill: impl FnOnce(&Path) -> Result<(), Problem>) -> Result<Self, Problem> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let parent = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(parent).map_err(|error| Problem::with(parent, error))?;
        let beside = parent.join(name);
        directory(&beside, 0o755)?;
        let new = Self { beside, target };
        fill(&new.beside)?;
        Ok(new)
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

/// Makes a folder with this mode, whatever the umask is.
fn directory(path: &Path, mode: u32) -> Result<(), Problem> {
    let made = DirBuilder::new().mode(mode).create(path);
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .map_err(|error| Problem::with(path, error))
}

fn file(path: &Path, mode: u32, text: &str) -> Result<(), Problem> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let write = |mut file: File| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))
    };
    opened.and_then(write).map_err(|error| Problem::with(path, error))
}
