use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Docker, SmallDisk, binary};

/// A containerd as it runs where it is a service of its own, with the images on a disk of their own, for a
/// [`super::PrivateEngine`]. Its socket, and the file that names its folder, are at their usual places in the mounts of
/// the engine and of [`SeparateContainerd::daemon`] alone.
pub struct SeparateContainerd {
    root: PathBuf,
    _disk: SmallDisk,
}

impl SeparateContainerd {
    /// Prepares one below the engine's folder, with a disk of this size.
    pub(super) fn prepare(root: &Path, mebibytes: u32) -> Self {
        let disk = SmallDisk::mount(&root.join("containerd"), mebibytes);
        fs::create_dir(root.join("run")).unwrap();
        let at = root.display();
        fs::write(root.join("containerd.toml"), format!("version = 2\nroot = \"{at}/containerd\"\n")).unwrap();
        fs::write(root.join("daemon.json"), r#"{"features": {"containerd-snapshotter": true}}"#).unwrap();
        let beside = format!(
            "mkdir -p /run/containerd && mount --bind {at}/run /run/containerd || exit\n\
             setpriv --pdeathsig KILL containerd --config {at}/containerd.toml >{at}/containerd.log 2>&1 &\n\
             until [ -S /run/containerd/containerd.sock ]; do [ -d /proc/$! ] || exit; sleep 0.1; done\n\
             exec \"$@\" --containerd /run/containerd/containerd.sock\n"
        );
        fs::write(root.join("beside"), beside).unwrap();
        let mounts = format!(
            "mkdir -p /run/containerd && mount --bind {at}/run /run/containerd && \
             mount --bind {at}/containerd.toml /etc/containerd/config.toml"
        );
        let program = Path::new(&binary()).display().to_string();
        let daemon = format!(
            "#!/bin/sh\nexec unshare --mount --propagation slave sh -c '{mounts} && exec {program} \"$@\"' sh \"$@\"\n"
        );
        fs::write(root.join("daemon"), daemon).unwrap();
        fs::set_permissions(root.join("daemon"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { root: root.into(), _disk: disk }
    }

    /// Returns the beginning of the command that runs this engine beside it. The newer one is in mounts of its own, and
    /// has its images in containerd.
    pub(super) fn command(&self, docker: Docker) -> String {
        let (mounts, flags) = match docker.of_script() {
            Some(_) => ("", String::new()),
            None => ("unshare --mount ", format!(" --config-file {}/daemon.json", self.root.display())),
        };
        format!("{mounts}sh {}/beside dockerd{flags}", self.root.display())
    }

    /// Returns the disk of the images.
    pub fn disk(&self) -> PathBuf {
        self.root.join("containerd")
    }

    /// Returns a program that becomes the daemon on the machine of this containerd.
    pub fn daemon(&self) -> PathBuf {
        self.root.join("daemon")
    }
}
