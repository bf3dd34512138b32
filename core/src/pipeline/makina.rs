//! Checks a project of the makina-states convention, whose image configures itself (docs/launcher.md).
//!
//! The whole context becomes `/srv/projects/NAME/project` of the image, which everybody who pulls the image can read, and
//! which must not change. Data, and what opens them, belong into the container's volume.

use std::collections::BTreeMap;

use super::failure::StageFailure;
use crate::engine::{EngineLease, files_with_attributes};
use crate::git::{Blobs, Entry, EntryKind, Snapshot};
use crate::model::{DeclaredVolume, DockerfilePath, FailureClass, LogSink, declared_volumes};

/// Names of files that ssh-keygen writes, without an ending.
const KEYS: [&str; 4] = ["id_dsa", "id_ecdsa", "id_ed25519", "id_rsa"];
/// Largest file that is looked into for a private key or for a program's name, in bytes.
const LARGEST: u64 = 1 << 20;
/// Largest tar file that is looked into, in bytes.
const LARGEST_TAR: u64 = 16 << 20;
/// Number of warnings of one kind.
const SHOWN: usize = 5;
/// Programs and states that give files what a tar may lose.
const SETTERS: [(&str, &str); 5] = [
    ("setfacl", "POSIX ACLs"),
    ("acl.present", "POSIX ACLs"),
    ("chacl", "POSIX ACLs"),
    ("setfattr", "extended attributes"),
    ("setcap", "capabilities, which are extended attributes"),
];
/// The end of a warning.
const LOST: &str = "has ACLs or extended attributes: they are lost when images are exchanged as tar";

/// A file of the context.
struct File<'a> {
    /// Path in the context.
    path: String,
    entry: &'a Entry,
}

/// Checks the context if it is a project of this convention: it has `bin/launch.sh` and `.salt`. Returns true if its image
/// may have ACLs or extended attributes.
pub(super) async fn check(
    snapshot: &Snapshot,
    dockerfile: Option<&DockerfilePath>,
    context: &[u8],
    build_args: &BTreeMap<String, String>,
    log: &dyn LogSink,
) -> Result<bool, StageFailure> {
    let files: Vec<File> = snapshot.entries.iter().filter_map(|entry| File::of(entry, context)).collect();
    let launch = files.iter().find(|file| file.path == "bin/launch.sh");
    let (Some(launch), true) = (launch, files.iter().any(|file| file.path.starts_with(".salt/"))) else {
        return Ok(false);
    };
    log.write(b"bin/launch.sh and .salt: the image configures itself, and its layout is checked\n");
    if let Some(file) = files.iter().find(|file| is_deployment(&file.path)) {
        return Err(refused(format!(
            "{} is data of a deployment, which would be in the image: take it out of the repository, and into the \
             container's volume",
            file.name()
        )));
    }
    let mut blobs = snapshot.blobs()?;
    for file in files.iter().filter(|file| may_be_key(&file.path) && file.entry.size <= LARGEST) {
        if is_private_key(&blobs.read(file.entry).await?) {
            return Err(refused(format!(
                "{} is a private key, which everybody who has the image could read: take it out of the repository, and \
                 make a new one",
                file.name()
            )));
        }
    }
    if let Some(path) = dockerfile {
        let text = super::dockerfile::read(snapshot, path).await?;
        for DeclaredVolume { line, path: volume } in declared_volumes(&text, build_args) {
            if let Some(name) = project(&volume) {
                return Err(refused(format!(
                    "{path}:{line} declares the volume {volume}, which would hide the project's code: declare \
                     /srv/projects/{name}/data"
                )));
            }
        }
    }
    let mut warnings = Vec::new();
    if launch.entry.kind == EntryKind::File {
        warnings.push(format!("{0} is not executable: git update-index --chmod=+x {0}", launch.name()));
    }
    if !files.iter().any(|file| file.path == ".salt/PILLAR.sample") {
        let text =
            "there is no .salt/PILLAR.sample: a container whose volume has no configuration/pillar.sls has no pillar";
        warnings.push(text.to_owned());
    }
    let (setters, tars) = (setters(&files, dockerfile, &mut blobs).await?, tar_files(&files, &mut blobs).await?);
    let has_attributes = !setters.is_empty() || !tars.is_empty();
    warnings.extend(setters.into_iter().take(SHOWN).chain(tars.into_iter().take(SHOWN)));
    for warning in warnings {
        log.write(format!("warning: {warning}\n").as_bytes());
    }
    Ok(has_attributes)
}

impl<'a> File<'a> {
    fn of(entry: &'a Entry, context: &[u8]) -> Option<Self> {
        if entry.is_of_git_dir() || !matches!(entry.kind, EntryKind::File | EntryKind::Exec | EntryKind::Symlink) {
            return None;
        }
        let path = match context {
            [] => &entry.path[..],
            folder => entry.path.strip_prefix(folder)?.strip_prefix(b"/")?,
        };
        Some(Self { path: String::from_utf8_lossy(path).into_owned(), entry })
    }

    /// Returns the path in the repository.
    fn name(&self) -> String {
        String::from_utf8_lossy(&self.entry.path).into_owned()
    }
}

fn refused(message: String) -> StageFailure {
    StageFailure::new(FailureClass::Source, message)
}

/// True for a path of `NAME_data/volume`, and for a deployment's pillar.
fn is_deployment(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    parts.windows(2).any(|pair| pair[0].ends_with("_data") && pair[1] == "volume")
        || parts.ends_with(&["configuration", "pillar.sls"])
}

fn may_be_key(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    KEYS.contains(&name) || [".key", ".pem", ".p8"].iter().any(|ending| name.ends_with(ending))
}

/// True for a private key in PEM, encrypted or not (RFC 7468, and OpenSSH's format).
fn is_private_key(content: &[u8]) -> bool {
    let text = String::from_utf8_lossy(content);
    text.lines().any(|line| line.trim().starts_with("-----BEGIN ") && line.trim().ends_with("PRIVATE KEY-----"))
}

/// Returns the name of the project if a path is its `project` folder, or is below it.
fn project(path: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in path.strip_prefix('/')?.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts[..] {
        ["srv", "projects", name, "project", ..] => Some(name.to_owned()),
        _ => None,
    }
}

/// Returns the lines of the Dockerfile, the states and the programs that give files what a tar may lose.
async fn setters(
    files: &[File<'_>],
    dockerfile: Option<&DockerfilePath>,
    blobs: &mut Blobs,
) -> Result<Vec<String>, StageFailure> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| file.entry.size <= LARGEST && file.entry.kind != EntryKind::Symlink) {
        let is_dockerfile = dockerfile.is_some_and(|path| path.as_str().as_bytes() == file.entry.path);
        if !is_dockerfile && ![".salt/", "bin/"].iter().any(|folder| file.path.starts_with(folder)) {
            continue;
        }
        let content = blobs.read(file.entry).await?;
        let Ok(text) = std::str::from_utf8(&content) else { continue };
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with('#')) {
            let mut words = line.split(|c: char| !(c.is_alphanumeric() || "._-".contains(c)));
            let setter = words.find_map(|word| SETTERS.iter().find(|(name, _)| word.trim_end_matches('.') == *name));
            if let Some((name, what)) = setter {
                let place = format!("{}:{}", file.name(), number + 1);
                found.push(format!("{place}: {name} sets {what}: they are lost when images are exchanged as tar"));
            }
        }
    }
    Ok(found)
}

/// Returns the tar files, of those that `ADD` unpacks, that have ACLs or extended attributes, each with one file of it.
async fn tar_files(files: &[File<'_>], blobs: &mut Blobs) -> Result<Vec<String>, StageFailure> {
    let mut found = Vec::new();
    let is_tar = |file: &&File| [".tar", ".tar.gz", ".tgz"].iter().any(|ending| file.path.ends_with(ending));
    for file in files.iter().filter(is_tar).filter(|file| file.entry.size <= LARGEST_TAR) {
        let content = blobs.read(file.entry).await?;
        let read = tokio::task::spawn_blocking(move || {
            let mut inside = Vec::new();
            // A file that is no tar is copied as it is.
            let _ = files_with_attributes(&content[..], 1, &mut inside);
            inside
        });
        let inside = read.await.unwrap_or_default();
        found.extend(inside.iter().map(|inside| format!("{inside} in {} {LOST}", file.name())));
    }
    Ok(found)
}

/// Warns of files in the layers of a built image that have ACLs or extended attributes. The engine has to write the whole
/// image for it, which takes a minute for half a gigabyte on a slow disk.
pub(super) async fn check_layers(engine: &EngineLease, image: &str, log: &dyn LogSink) -> Result<(), StageFailure> {
    for file in engine.files_with_attributes(image, SHOWN).await? {
        log.write(format!("warning: /{file} in the image {LOST}\n").as_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_a_deployment_are_told_from_the_project() {
        for (path, expected) in [
            ("hello_data/volume/data/db", true),
            ("a/hello_data/volume/ssh/me.pub", true),
            ("configuration/pillar.sls", true),
            (".salt/PILLAR.sample", false),
            ("volume/README", false),
            ("pillar.sls", false),
        ] {
            assert_eq!(is_deployment(path), expected, "{path}");
        }
    }

    #[test]
    fn a_volume_is_told_from_the_projects_code() {
        for (path, expected) in [
            ("/srv/projects/x/project", Some("x")),
            ("/srv//projects/x/project/media/", Some("x")),
            ("/srv/projects/x/data/../project", Some("x")),
            ("/srv/projects/x/data", None),
            ("/srv/projects/x/project/../data", None),
            ("/srv/projects", None),
            ("srv/projects/x/project", None),
        ] {
            assert_eq!(project(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn public_keys_and_certificates_are_no_private_keys() {
        let pem = |kind: &str| format!("text\n-----BEGIN {kind}-----\nAAAA\n");
        for (kind, expected) in [
            ("RSA PRIVATE KEY", true),
            ("OPENSSH PRIVATE KEY", true),
            ("PRIVATE KEY", true),
            ("CERTIFICATE", false),
            ("PUBLIC KEY", false),
        ] {
            assert_eq!(is_private_key(pem(kind).as_bytes()), expected, "{kind}");
        }
    }
}
