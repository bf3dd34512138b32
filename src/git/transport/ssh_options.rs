//! The options that every ssh gets, and the quoting that ssh and the shell need.

use std::path::Path;

use crate::git::GitConfig;

/// Returns the values of `-o` for every ssh that we start.
pub(in crate::git) fn ssh_options(config: &GitConfig, agent: bool) -> Vec<String> {
    let agent = if agent { "SSH_AUTH_SOCK" } else { "none" };
    let hosts = [&config.known_hosts].into_iter().chain(&config.added_hosts).map(|file| for_ssh(file));
    let mut options = vec![
        "IdentityFile=none".into(),
        format!("IdentityAgent={agent}"),
        format!("UserKnownHostsFile={}", hosts.collect::<Vec<_>>().join(" ")),
    ];
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

/// Quotes a path for ssh, which splits a list of paths and expands `%`.
pub(in crate::git) fn for_ssh(path: &Path) -> String {
    format!("\"{}\"", path.to_string_lossy().replace('%', "%%"))
}

pub(in crate::git) fn for_shell(text: &str) -> String {
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
