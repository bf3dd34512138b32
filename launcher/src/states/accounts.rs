//! Users and groups: looked up in the image's own files, and created by its programs.

use std::fs;
use std::path::{Path, PathBuf};

use super::chunk::Chunk;
use super::command::Programs;
use super::file::Files;
use super::run::{Outcome, Undone};
use crate::Problem;

/// A user and a group that a file gets. What is `None` stays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Owner {
    pub user: Option<u32>,
    pub group: Option<u32>,
}

/// The number of an account that a dry run only plans. No file has it, so that its owner differs.
const NO_NUMBER: u32 = u32::MAX;

/// Returns the fields of a name, or of a number, in `/etc/passwd` or `/etc/group`.
pub fn entry(root: &Path, file: &str, name: &str) -> Option<Vec<String>> {
    let text = fs::read_to_string(root.join("etc").join(file)).unwrap_or_default();
    let fields = text.lines().map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>());
    fields.filter(|fields| fields.len() > 3).find(|fields| fields[0] == name || fields[2] == name)
}

impl Owner {
    /// Looks up the options `user` and `group` of a state.
    ///
    /// # Errors
    /// The image has no such user or group.
    pub fn of(files: &Files<'_>, chunk: &Chunk) -> Result<Self, Undone> {
        let find = |key: &str, file: &str| -> Result<Option<u32>, Undone> {
            let Some(name) = chunk.text(key)? else { return Ok(None) };
            let found = entry(files.root, file, &name).and_then(|fields| fields[2].parse().ok());
            let planned = || files.dry_run.filter(|dry_run| dry_run.may_have_account(key, &name)).map(|_| NO_NUMBER);
            let missing = || {
                Undone::Failed(format!(
                    "the image has no {key} {name}; create it by {key}.present, or correct the name"
                ))
            };
            found.or_else(|| name.parse().ok()).or_else(planned).map(Some).ok_or_else(missing)
        };
        Ok(Self { user: find("user", "passwd")?, group: find("group", "group")? })
    }
}

/// The options of `user.present`.
pub struct User {
    uid: Option<u32>,
    gid: Option<String>,
    home: Option<String>,
    shell: Option<String>,
    fullname: Option<String>,
    groups: Option<Vec<String>>,
    system: bool,
    createhome: bool,
}

impl User {
    /// Reads the options.
    ///
    /// # Errors
    /// An option has a value of another kind.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        Ok(Self {
            uid: chunk.account_number("uid")?,
            gid: chunk.text("gid")?,
            home: chunk.text("home")?,
            shell: chunk.text("shell")?,
            fullname: chunk.text("fullname")?,
            groups: chunk.arg("groups").map(|_| chunk.texts("groups")).transpose()?,
            system: chunk.boolean("system", false)?,
            createhome: chunk.boolean("createhome", true)?,
        })
    }

    /// Checks that the number is the one that the image has.
    ///
    /// # Errors
    /// The user has another number.
    pub fn check(&self, chunk: &Chunk, root: &Path) -> Result<(), String> {
        check_number("user", self.uid, entry(root, "passwd", &chunk.name))
    }

    /// Creates the user, or changes what differs.
    ///
    /// # Errors
    /// The image has no `useradd`, it fails, or the user has another number.
    pub fn apply(&self, chunk: &Chunk, programs: &Programs<'_>) -> Result<Outcome, Undone> {
        let root = programs.root;
        let mut words: Vec<String> = Vec::new();
        let mut add = |option: &str, value: &str| words.extend([option.to_owned(), value.to_owned()]);
        let Some(old) = entry(root, "passwd", &chunk.name) else {
            self.uid.iter().for_each(|uid| add("-u", &uid.to_string()));
            let options = [("-s", &self.shell), ("-g", &self.gid), ("-d", &self.home), ("-c", &self.fullname)];
            for (option, value) in options {
                value.iter().for_each(|value| add(option, value));
            }
            self.groups.iter().filter(|groups| !groups.is_empty()).for_each(|groups| add("-G", &groups.join(",")));
            words.push(if self.createhome { "-m" } else { "-M" }.into());
            words.extend(self.system.then(|| "-r".to_owned()));
            if let Some(dry_run) = &programs.dry_run {
                // Debian's useradd makes a group of the same name, too.
                ["user", "group"].iter().for_each(|kind| dry_run.add_account(kind, &chunk.name));
                let home = self.home.clone().unwrap_or_else(|| format!("/home/{}", chunk.name));
                if self.createhome {
                    dry_run.add_folder(&root.join(home.trim_start_matches('/')));
                }
            }
            return programs.account("useradd", words, &chunk.name);
        };
        self.check(chunk, root).map_err(Undone::Failed)?;
        let gid =
            self.gid.as_ref().map(|gid| entry(root, "group", gid).map_or(gid.clone(), |fields| fields[2].clone()));
        let field = |at: usize| old.get(at).map_or("", String::as_str);
        for (option, at, value) in [("-g", 3, &gid), ("-d", 5, &self.home), ("-s", 6, &self.shell)] {
            value.iter().filter(|value| *value != field(at)).for_each(|value| add(option, value));
        }
        self.fullname.iter().filter(|name| field(4).split(',').next() != Some(name)).for_each(|name| add("-c", name));
        if let Some(groups) = &self.groups {
            let text = fs::read_to_string(root.join("etc/group")).unwrap_or_default();
            let lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
            let mut now: Vec<&str> = lines
                .filter(|fields| fields.len() > 3 && fields[3].split(',').any(|member| member == chunk.name))
                .map(|fields| fields[0])
                .collect();
            let mut wanted: Vec<&str> = groups.iter().map(String::as_str).collect();
            now.sort_unstable();
            wanted.sort_unstable();
            if now != wanted {
                add("-G", &groups.join(","));
            }
        }
        match words.is_empty() {
            true => Ok(Outcome::unchanged()),
            false => programs.account("usermod", words, &chunk.name),
        }
    }
}

/// The options of `group.present`.
pub struct Group {
    gid: Option<u32>,
    system: bool,
}

impl Group {
    /// Reads the options.
    ///
    /// # Errors
    /// An option has a value of another kind.
    pub fn of(chunk: &Chunk) -> Result<Self, Problem> {
        Ok(Self { gid: chunk.account_number("gid")?, system: chunk.boolean("system", false)? })
    }

    /// Checks that the number is the one that the image has.
    ///
    /// # Errors
    /// The group has another number.
    pub fn check(&self, chunk: &Chunk, root: &Path) -> Result<(), String> {
        check_number("group", self.gid, entry(root, "group", &chunk.name))
    }

    /// Creates the group if it is missing.
    ///
    /// # Errors
    /// The image has no `groupadd`, it fails, or the group has another number.
    pub fn apply(&self, chunk: &Chunk, programs: &Programs<'_>) -> Result<Outcome, Undone> {
        if entry(programs.root, "group", &chunk.name).is_some() {
            return self.check(chunk, programs.root).map_err(Undone::Failed).map(|()| Outcome::unchanged());
        }
        let mut words: Vec<String> = self.gid.into_iter().flat_map(|gid| ["-g".to_owned(), gid.to_string()]).collect();
        words.extend(self.system.then(|| "-r".to_owned()));
        programs.dry_run.iter().for_each(|dry_run| dry_run.add_account("group", &chunk.name));
        programs.account("groupadd", words, &chunk.name)
    }
}

fn check_number(what: &str, wanted: Option<u32>, fields: Option<Vec<String>>) -> Result<(), String> {
    match (wanted, fields) {
        (Some(wanted), Some(fields)) if fields[2] != wanted.to_string() => {
            let number = &fields[2];
            Err(format!("the {what} has the number {number}, which is not changed; write it, or leave the number out"))
        }
        _ => Ok(()),
    }
}

/// Returns the path of a home folder, or `/`.
pub fn home(root: &Path, user: &str) -> PathBuf {
    entry(root, "passwd", user).and_then(|fields| fields.get(5).cloned()).unwrap_or_else(|| "/".into()).into()
}
