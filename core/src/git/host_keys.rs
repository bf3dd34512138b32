//! Host keys of ssh servers, as `ssh-keyscan` shows them.

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use sha2::{Digest, Sha256};

use super::GitError;
use crate::process::Program;

/// Seconds for the connection and for each answer.
const PATIENCE: &str = "10";

/// A server, for which host keys are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshHost {
    name: String,
    port: u16,
}

impl SshHost {
    /// Reads `HOST` or `HOST:PORT`; an IPv6 address with a port stands in brackets.
    ///
    /// # Errors
    /// The text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) if !name.contains(':') || name.ends_with(']') => (name, Some(port)),
            _ => (text, None),
        };
        let port = port.map_or(Ok(22), str::parse).ok().filter(|port| *port > 0);
        let name = name.trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_name = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
        match port {
            Some(port) if !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_name) => {
                Ok(Self { name, port })
            }
            _ => Err(format!("{text:?} is no HOST or HOST:PORT, such as git.example.com or git.example.com:2222")),
        }
    }
}

/// A host key that a server shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostKey {
    /// Line of a file of known hosts: name, kind and key.
    pub line: String,
    pub kind: String,
    /// `SHA256:…`, as ssh-keygen writes it.
    pub fingerprint: String,
}

/// Asks the server for its host keys. The answer proves nothing: somebody has to compare the fingerprints.
///
/// # Errors
/// ssh-keyscan is not installed, or the server shows no key.
pub async fn scan_host_keys(host: &SshHost) -> Result<Vec<HostKey>, GitError> {
    let port = host.port.to_string();
    let scan = Program::new("ssh-keyscan").args(["-T", PATIENCE, "-p", &port, &host.name]).output().await;
    let scanned = scan.map_err(|error| GitError::refused(error.to_string()))?;
    let keys: Vec<_> = String::from_utf8_lossy(&scanned.stdout).lines().filter_map(read_line).collect();
    match keys.is_empty() {
        false => Ok(keys),
        true => {
            let why = scanned.stderr.lines().find(|line| !line.starts_with('#') && !line.is_empty());
            Err(GitError::refused(format!(
                "{} shows no host key on port {port}: {}; check the name, the port and the firewall",
                host.name,
                why.unwrap_or("no answer")
            )))
        }
    }
}

/// Reads a line of a file of known hosts; `None` for a comment.
fn read_line(line: &str) -> Option<HostKey> {
    let mut fields = line.split_whitespace();
    let (name, kind, key) = (fields.next()?, fields.next()?, fields.next()?);
    if name.starts_with('#') {
        return None;
    }
    let digest = Sha256::digest(BASE64_STANDARD.decode(key).ok()?);
    let fingerprint = format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(digest));
    Some(HostKey { line: format!("{name} {kind} {key}"), kind: kind.into(), fingerprint })
}

/// Counts the host keys in a file of known hosts. Also returns the number of the first line that is none, if there is
/// one: ssh passes over such a line and says nothing.
pub fn count_host_keys(text: &str) -> (usize, Option<usize>) {
    let lines = (1..).zip(text.lines().map(str::trim)).filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (keys, others): (Vec<_>, Vec<_>) = lines.partition(|(_, line)| is_host_key(line));
    (keys.len(), others.first().map(|(number, _)| *number))
}

/// Returns true for names, kind and key (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT). A marker may stand before them.
fn is_host_key(line: &str) -> bool {
    let fields = line.split_whitespace().collect::<Vec<_>>();
    let fields = if line.starts_with('@') { &fields[1..] } else { &fields[..] };
    let [_, kind, key, ..] = fields else { return false };
    ssh_key::PublicKey::from_openssh(&format!("{kind} {key}")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_a_port_or_none() {
        let host = |name: &str, port| Ok(SshHost { name: name.into(), port });
        for (text, expected) in [
            ("git.example.com", host("git.example.com", 22)),
            ("git.example.com:2222", host("git.example.com", 2222)),
            ("[2001:db8::1]:2222", host("2001:db8::1", 2222)),
            ("[2001:db8::1]", host("2001:db8::1", 22)),
            ("2001:db8::1", host("2001:db8::1", 22)),
        ] {
            assert_eq!(SshHost::parse(text), expected, "{text}");
        }
        for text in ["", "-oProxyCommand=x", "a b", "host:", "host:0", "host:99999", "user@host", "ssh://host"] {
            assert!(SshHost::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lines_that_are_no_host_keys_are_found() {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let shipped = include_str!("../../../etc/known_hosts");
        for (text, expected) in [
            (shipped.to_owned(), (3, None)),
            (format!("# a comment\n\n |1|c2FsdA==|aGFzaA== {key} a comment\r\n"), (1, None)),
            (format!("@cert-authority *.example.org {key}\n@revoked * {key}"), (2, None)),
            (format!("a,b {key}\ngarbage\n{key}\n"), (1, Some(2))),
            (format!("a {}", &key[..60]), (0, Some(1))),
            (format!("a {}", key.replace("ssh-ed25519", "ssh-rsa")), (0, Some(1))),
            ("@revoked\n<html>\n".into(), (0, Some(1))),
            (String::new(), (0, None)),
        ] {
            assert_eq!(count_host_keys(&text), expected, "{text}");
        }
    }

    /// The key and the fingerprint are GitHub's, as its documentation has them.
    #[test]
    fn a_fingerprint_is_that_of_ssh_keygen() {
        let line = "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        let key = read_line(line).unwrap();
        assert_eq!(key.fingerprint, "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU");
        assert_eq!((key.line.as_str(), key.kind.as_str()), (line, "ssh-ed25519"));
        assert_eq!(read_line("# github.com:22 SSH-2.0-x"), None);
    }
}
