//! The options that every ssh gets, and the quoting that ssh and the shell need.

use std::path::{Path, PathBuf};

/// The files of the host keys that ssh accepts. A file that does not exist has none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHosts(pub Vec<PathBuf>);

impl SshHosts {
    /// Returns the values of `-o` for an ssh that accepts these hosts, and gets its key from an agent or has none.
    pub fn options(&self, agent: bool) -> Vec<String> {
        let agent = if agent { "SSH_AUTH_SOCK" } else { "none" };
        let files = self.0.iter().map(|file| for_ssh(file)).collect::<Vec<_>>().join(" ");
        let mut options =
            vec!["IdentityFile=none".into(), format!("IdentityAgent={agent}"), format!("UserKnownHostsFile={files}")];
        options.extend(
            [
                "GlobalKnownHostsFile=none",
                "StrictHostKeyChecking=yes",
                "BatchMode=yes",
                "ConnectTimeout=15",
                "ServerAliveInterval=15",
                "ServerAliveCountMax=3",
            ]
            .map(String::from),
        );
        options
    }

    /// Returns the contents of the files, which identify the servers. A missing file counts as empty: ssh then says that
    /// the server is unknown.
    pub fn contents(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(|file| std::fs::read(file).unwrap_or_default())
    }
}

/// Quotes a path for ssh, which splits a list of paths and expands `%`.
pub fn for_ssh(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

pub fn for_shell(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_survives_the_shell_and_ssh() {
        let twice = |path: &str| for_shell(&for_ssh(Path::new(path)));
        assert_eq!(twice("/etc/known_hosts"), r#"'"/etc/known_hosts"'"#);
        assert_eq!(twice("/a b/c'd%h"), r#"'"/a b/c'\''d%%h"'"#);
    }
}
