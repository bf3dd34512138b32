//! The table of what Git and ssh say when a repository's host cannot be reached or refuses: each row has the words that
//! it is known by and the message that replaces them. The first row that matches counts.

use std::fmt::Display;
use std::path::Path;

use super::message::ErrorMessage;
use super::stderr::{dropped, newer_format};
use super::{Fault, GitError};
use crate::git::RepoSource;
use crate::git::transport::refusals::KeyRefusal;
use crate::git::transport::remote::{Protocol, Remote};
use crate::ssh::{KEY_REFUSALS, is_key_refusal, reasons};

/// A failed command: what it wrote to stderr, and what it was asked to reach.
struct FailedCommand<'a> {
    stderr: &'a str,
    source: &'a RepoSource,
    remote: &'a Remote,
    known_hosts: &'a Path,
}

struct StderrRule {
    /// One of these stands in stderr; an empty list leaves the decision to `when`.
    needles: &'static [&'static str],
    when: fn(&FailedCommand) -> bool,
    message: ErrorMessage,
    /// Values that stand in the places of the message's `…`.
    details: &'static [Detail],
}

#[derive(Debug, Clone, Copy)]
enum Detail {
    Repo,
    Host,
    Url,
    /// Fingerprint of the deploy key.
    Key,
    /// The command that stores a deploy key.
    PutKey,
    KnownHosts,
    /// The first line that has one of the rule's needles.
    NeedleLine,
    /// The first line that gives a reason.
    FirstReason,
    /// The first line that starts with `fatal: `.
    FatalLine,
    /// The line by which the connection was dropped.
    DroppedLine,
    /// The extension or version of a repository's format.
    NewFormat,
    /// `of HOST`, or `of this machine` for a file URL.
    GitOwner,
}

const ALWAYS: fn(&FailedCommand) -> bool = |_| true;
const HAS_LOGIN: fn(&FailedCommand) -> bool = |failure| failure.remote.authorization.is_some();
const HAS_NO_LOGIN: fn(&FailedCommand) -> bool = |failure| failure.remote.authorization.is_none();

use Detail::*;
use Fault::{Config, Hidden, Host as OurHost, Server, Throttled};

#[rustfmt::skip]
const RULES: [StderrRule; 24] = [
    StderrRule {
        needles: &["setpriv: not found", "ssh: not found"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "ssh or setpriv is not installed",
            cause: "Git starts ssh through setpriv, and one of the two is not in PATH.",
            cure: "install openssh-client and util-linux",
            fault: Config,
        },
        details: &[],
    },
    StderrRule {
        needles: &["HOST IDENTIFICATION HAS CHANGED", "Host key for "],
        when: |failure| failure.says(&["Host key verification failed"]),
        message: ErrorMessage {
            what: "the host key of … is not the one in …",
            cause: "The server was set up anew, or another machine answers in its place.",
            cure: "if the change is known to be right, remove the old line there, then `image-factory known-hosts add …`",
            fault: Config,
        },
        details: &[Host, KnownHosts, Host],
    },
    StderrRule {
        needles: &["Host key verification failed", "host key is known for"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "the host key of … is unknown",
            cause: "KNOWN_HOSTS has no line for the server.",
            cure: "compare it with what the host publishes, and add it with `image-factory known-hosts add …`",
            fault: Config,
        },
        details: &[Host, Host],
    },
    StderrRule {
        needles: &[],
        when: |failure| is_key_refusal(failure.stderr) && failure.source.key.is_some(),
        message: ErrorMessage {
            what: "… refuses the deploy key … for …",
            cause: "The key's public half is not among the repository's deploy keys, or was removed there.",
            cure: "add its public half to the repository's deploy keys, or store another one with …",
            fault: Fault::Key,
        },
        details: &[Host, Key, Repo, PutKey],
    },
    StderrRule {
        needles: &[],
        when: |failure| is_key_refusal(failure.stderr),
        message: ErrorMessage {
            what: "… asks for a key and there is no deploy key for …",
            cause: "GIT_URL is an ssh URL, and no key of the repository or of its owner is stored.",
            cure: "store one with …",
            fault: Config,
        },
        details: &[Host, Repo, PutKey],
    },
    StderrRule {
        needles: &["Could not resolve host", "Name or service not known", "Temporary failure in name resolution"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "the host … is unknown",
            cause: "The name service does not know the host, or does not answer.",
            cure: "check GIT_URL and the name service",
            fault: Server,
        },
        details: &[Host],
    },
    StderrRule {
        // Git asks for another login when the first one is refused.
        needles: &[
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
            "Authentication failed",
            "could not read Username",
        ],
        when: HAS_LOGIN,
        message: ErrorMessage {
            what: "… refuses GIT_TOKEN for …",
            cause: "The token has expired, was revoked, or may not read the repository.",
            cure: "renew the token, or give it the right to read this repository",
            fault: Config,
        },
        details: &[Host, Repo],
    },
    StderrRule {
        needles: &[
            "The requested URL returned error: 401",
            "The requested URL returned error: 403",
            "Authentication failed",
        ],
        when: HAS_NO_LOGIN,
        message: ErrorMessage {
            what: "… lets nobody read … without a login",
            cause: "The repository is private, and it is fetched by https without a token.",
            cure: "set GIT_TOKEN",
            fault: Config,
        },
        details: &[Host, Repo],
    },
    StderrRule {
        needles: &["certificate has expired", "expired certificate", "certificate is not yet valid", "not activated"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "the certificate of … has expired, or is not yet valid",
            cause: "The server's certificate was not renewed, or a clock is wrong.",
            cure: "renew it, or set the clocks",
            fault: Config,
        },
        details: &[Host],
    },
    StderrRule {
        needles: &["does not match target host", "no alternative certificate subject name"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "… shows another host's certificate",
            cause: "The name in GIT_URL is not one of those in the server's certificate.",
            cure: "correct GIT_URL, or the server's certificate",
            fault: Config,
        },
        details: &[Host],
    },
    StderrRule {
        // GnuTLS does not say which of the two it is.
        needles: &["server certificate verification failed"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "the certificate of … is not trusted, or has expired",
            cause: "A private authority signed the server's certificate, or it was not renewed.",
            cure: "renew it, or put its authority's certificate into a file and its path into GIT_CACERT",
            fault: Config,
        },
        details: &[Host],
    },
    StderrRule {
        needles: &["SSL certificate problem", "certificate verify"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "the certificate of … is signed by nobody who is trusted",
            cause: "A private authority signed the server's certificate.",
            cure: "put its authority's certificate into a file and its path into GIT_CACERT",
            fault: Config,
        },
        details: &[Host],
    },
    StderrRule {
        needles: &["gnutls_handshake() failed", "SSL routines", "SSL_ERROR_", "SSL connect error"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "no TLS with … (…)",
            cause: "The port of GIT_URL serves http or another protocol, or only versions of TLS that are too old.",
            cure: "check that it is an https server",
            fault: Config,
        },
        details: &[Host, FatalLine],
    },
    StderrRule {
        needles: &[],
        when: |failure| failure.is_without_repo() && failure.remote.protocol == Protocol::File,
        message: ErrorMessage {
            what: "there is no repository … at …",
            cause: "The folder does not exist, or is no Git repository.",
            cure: "check the name and GIT_URL",
            fault: Hidden,
        },
        details: &[Repo, Url],
    },
    StderrRule {
        needles: &[],
        when: |failure| {
            failure.is_without_repo() && failure.remote.protocol == Protocol::Ssh && failure.source.key.is_some()
        },
        message: ErrorMessage {
            what: "there is no repository … at …, or the deploy key … may not read it",
            cause: "The name is misspelt, or the deploy key belongs to another repository.",
            cure: "check the name, or …",
            fault: Hidden,
        },
        details: &[Repo, Url, Key, PutKey],
    },
    StderrRule {
        needles: &[],
        when: |failure| failure.is_without_repo() && HAS_LOGIN(failure),
        message: ErrorMessage {
            what: "there is no repository … at …, or GIT_TOKEN may not read it",
            cause: "The name is misspelt, or the token has no right to the repository.",
            cure: "check the name and the token",
            fault: Hidden,
        },
        details: &[Repo, Url],
    },
    StderrRule {
        needles: &[],
        when: |failure| failure.is_without_repo() && failure.remote.protocol == Protocol::Ssh,
        message: ErrorMessage {
            what: "there is no repository … at …, or it is private",
            cause: "The name is misspelt, or the repository needs a deploy key and none is stored.",
            cure: "check the name, or …",
            fault: Hidden,
        },
        details: &[Repo, Url, PutKey],
    },
    StderrRule {
        needles: &[],
        when: |failure| failure.is_without_repo(),
        message: ErrorMessage {
            what: "there is no repository … at …, or it is private",
            cause: "The name is misspelt, or the repository needs a token or a deploy key and none is stored.",
            cure: "check the name, or set GIT_TOKEN, or …",
            fault: Hidden,
        },
        details: &[Repo, Url, PutKey],
    },
    StderrRule {
        needles: &[],
        when: |failure| newer_format(failure.stderr).is_some(),
        message: ErrorMessage {
            what: "… has …, which the Git … does not know",
            cause: "A newer Git made the repository, in a format that came after the Git that opens it.",
            cure: "install a newer Git there, or convert the repository",
            fault: Config,
        },
        details: &[Url, NewFormat, GitOwner],
    },
    StderrRule {
        needles: &["dubious ownership"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "… belongs to another user, so Git does not read it",
            cause: "GIT_URL is a file URL, and the repository's folder has another owner than the daemon.",
            cure: "change its owner, or serve it by ssh or https",
            fault: Config,
        },
        details: &[Url],
    },
    StderrRule {
        needles: &["No space left on device", "Disk quota exceeded"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "no space left for the mirror of …",
            cause: "The disk or the quota of the data folder is full.",
            cure: "make room in the data folder",
            fault: OurHost,
        },
        details: &[Repo],
    },
    StderrRule {
        needles: &[],
        when: |failure| failure.remote.protocol == Protocol::Ssh && dropped(failure.stderr).is_some(),
        message: ErrorMessage {
            what: "… dropped the connection before it let ssh in (…)",
            cause: "The server is overloaded, or holds this address back for some minutes after refused keys \
                    (PerSourcePenalties).",
            cure: "wait some minutes, then build again; it is overloaded, or holds this address back after refused keys \
                   (PerSourcePenalties)",
            fault: Throttled,
        },
        details: &[Host, DroppedLine],
    },
    StderrRule {
        needles: &[
            "Connection refused",
            "Connection timed out",
            "Connection reset",
            "Connection closed by",
            "Connection to ",
            "No route to host",
            "Network is unreachable",
            "timed out",
            "connection timeout",
            "kex_exchange_identification",
            "Failed to connect to",
            "Couldn't connect to server",
            "Could not connect to",
            "Operation too slow",
            "hung up unexpectedly",
            "RPC failed",
            "Empty reply from server",
            "The requested URL returned error: 5",
            "The requested URL returned error: 429",
            "Broken pipe",
        ],
        when: ALWAYS,
        message: ErrorMessage {
            what: "… cannot be reached, or broke the connection off (…)",
            cause: "The server is down or overloaded, or the network to it is interrupted.",
            cure: "try again when it is there",
            fault: Server,
        },
        details: &[Host, NeedleLine],
    },
    StderrRule {
        needles: &["Could not read from remote repository", "fatal: unable to access"],
        when: ALWAYS,
        message: ErrorMessage {
            what: "… does not give out … (…)",
            cause: "The server refuses the repository in words that are not known here.",
            cure: "look at what it says there",
            fault: Server,
        },
        details: &[Host, Repo, FirstReason],
    },
];

/// Explains a fetch that failed; `None` when no rule knows Git's words.
pub(in crate::git) fn explain(
    stderr: &str,
    exit_code: i32,
    source: &RepoSource,
    remote: &Remote,
    known_hosts: &Path,
) -> Option<GitError> {
    let failure = FailedCommand { stderr, source, remote, known_hosts };
    let rule = RULES.iter().find(|rule| rule.matches(&failure))?;
    let details: Vec<_> = rule.details.iter().map(|detail| rule.detail(*detail, &failure)).collect();
    let details: Vec<&dyn Display> = details.iter().map(|detail| detail as &dyn Display).collect();
    Some(GitError { exit_code, ..rule.message.error(&details) })
}

/// Explains a key that was refused earlier and was therefore not shown again.
pub(in crate::git) fn refused_before(
    refusal: KeyRefusal,
    source: &RepoSource,
    remote: &Remote,
    known_hosts: &Path,
) -> GitError {
    let error = explain(KEY_REFUSALS[0], 128, source, remote, known_hosts);
    let error = error.unwrap_or_else(|| GitError::refused(format!("{} refuses the key", remote.host)));
    GitError { message: format!("{} ({refusal})", error.message), ..error }
}

pub(super) fn messages() -> impl Iterator<Item = &'static ErrorMessage> {
    const { &RULES }.iter().map(|rule| &rule.message)
}

impl FailedCommand<'_> {
    fn says(&self, words: &[&str]) -> bool {
        words.iter().any(|words| self.stderr.contains(words))
    }

    fn is_without_repo(&self) -> bool {
        self.says(&[
            "Repository not found",
            "does not appear to be a git repository",
            "could not read Username",
            "The requested URL returned error: 404",
        ]) || (self.says(&["repository '"]) && self.says(&["' not found"]))
    }
}

impl StderrRule {
    fn matches(&self, failure: &FailedCommand) -> bool {
        (self.needles.is_empty() || failure.says(self.needles)) && (self.when)(failure)
    }

    fn detail(&self, detail: Detail, failure: &FailedCommand) -> String {
        let FailedCommand { stderr, source, remote, known_hosts } = failure;
        let repo = &source.repo;
        match detail {
            Repo => repo.to_string(),
            Host => remote.host.clone(),
            Url => remote.url.clone(),
            Key => source.key.as_ref().map(|key| key.fingerprint()).unwrap_or_default(),
            PutKey => {
                let (owner, name) = (repo.owner(), repo.name());
                format!("`image-factory secrets put github-key --owner {owner} --repo {name} FILE`")
            }
            KnownHosts => known_hosts.display().to_string(),
            NeedleLine => {
                let has_needle = |line: &&str| self.needles.iter().any(|needle| line.contains(needle));
                reasons(stderr).find(has_needle).unwrap_or_default().into()
            }
            FirstReason => reasons(stderr).next().unwrap_or_default().into(),
            FatalLine => stderr.lines().find(|line| line.starts_with("fatal: ")).unwrap_or_default().into(),
            DroppedLine => dropped(stderr).unwrap_or_default().into(),
            NewFormat => newer_format(stderr).unwrap_or_default(),
            GitOwner if remote.host.is_empty() => "of this machine".into(),
            GitOwner => format!("of {}", remote.host),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_a_place_for_each_detail() {
        for StderrRule { message, details, .. } in &RULES {
            let template = format!("{} {}", message.what, message.cure);
            assert_eq!(template.matches('…').count(), details.len(), "{template}");
        }
    }
}
