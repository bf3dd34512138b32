//! Places in an image of the makina-states convention.

use std::io;
use std::path::{Path, PathBuf};

use crate::Problem;
use crate::roots::Roots;

/// Files that list the application's processes, in the order in which they are looked for.
const CIRCUS: [&str; 3] = ["etc/circus/circusd.ini", "etc/circus/circus.ini", "etc/circus.ini"];

/// The folders of one project.
pub struct Layout {
    /// Folder that stands for `/`.
    pub root: PathBuf,
    pub name: String,
}

impl Layout {
    /// Looks for a project below `srv/projects`. Without a name it is the only one that is there.
    ///
    /// # Errors
    /// There is no project of this name, or several and no name.
    pub fn find(root: &Path, name: Option<&str>) -> Result<Self, Problem> {
        let projects = root.join("srv/projects");
        let found = |name: &str| projects.join(name).join("project").is_dir();
        let name = match name {
            Some(name) if !name.is_empty() && !name.starts_with('.') && !name.contains('/') && found(name) => {
                name.to_owned()
            }
            name => {
                let entries: Vec<String> = match projects.read_dir() {
                    Ok(entries) => entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect(),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
                    Err(error) => return Err(Problem::with(&projects, error)),
                };
                let mut names: Vec<String> = entries.into_iter().filter(|name| found(name)).collect();
                names.sort();
                match (name, names.as_slice()) {
                    (_, []) => {
                        let text = "The image has no project here. Copy it to NAME/project in the Dockerfile.";
                        return Err(Problem::with(&projects, text));
                    }
                    (Some(name), names) => {
                        let text = format!("The image has no project `{name}`. Name one of {}.", names.join(", "));
                        return Err(Problem::with(&projects, text));
                    }
                    (None, [name]) => name.clone(),
                    (None, names) => {
                        let text = format!("The image has several projects. Name one by name=: {}.", names.join(", "));
                        return Err(Problem::with(&projects, text));
                    }
                }
            }
        };
        Ok(Self { root: root.into(), name })
    }

    fn project(&self) -> PathBuf {
        self.root.join("srv/projects").join(&self.name)
    }

    /// The pillar that the project's states are given.
    pub fn pillar(&self) -> PathBuf {
        self.pillar_folder().join("init.sls")
    }

    /// The pillar that the image had before the volume's took its place.
    pub fn image_pillar(&self) -> PathBuf {
        self.pillar_folder().join(".init.sls.of-image")
    }

    pub fn pillar_folder(&self) -> PathBuf {
        self.project().join("pillar")
    }

    /// The project's states.
    pub fn states(&self) -> PathBuf {
        self.project().join("project/.salt")
    }

    /// The pillar that documents the project's values.
    pub fn sample(&self) -> PathBuf {
        self.states().join("PILLAR.sample")
    }

    /// The folders of `salt://`: the project's states, also under the name that makina-states gives them, and the host's.
    pub fn roots(&self) -> Roots {
        let prefix = format!("makina-projects/{}/", self.name);
        let states = self.states();
        Roots::new([(String::new(), states.clone()), (prefix, states), (String::new(), self.root.join("srv/salt"))])
    }

    /// The pillar of the volume.
    pub fn configured_pillar(&self) -> PathBuf {
        self.data().join("configuration/pillar.sls")
    }

    /// The volume.
    pub fn data(&self) -> PathBuf {
        self.project().join("data")
    }

    /// The folders of the image that fill the volume's folders of the same name.
    pub fn seeds(&self) -> PathBuf {
        self.project().join("seeds")
    }

    /// Folders whose `*.pub` may log in as root.
    pub fn keys(&self) -> [PathBuf; 3] {
        let data = self.data();
        [data.join("ssh"), data.join("ms_ssh"), self.root.join("ms_ssh")]
    }

    pub fn authorized_keys(&self) -> PathBuf {
        self.root.join("root/.ssh/authorized_keys")
    }

    /// The file that lists the application's processes.
    ///
    /// # Errors
    /// There is none.
    pub fn circus(&self) -> Result<PathBuf, Problem> {
        let places = CIRCUS.map(|path| self.root.join(path));
        places.iter().find(|path| path.is_file()).cloned().ok_or_else(|| {
            let text = "The image does not say what runs. Write this file by a state, or in the Dockerfile.";
            Problem::with(&places[1], text)
        })
    }
}
