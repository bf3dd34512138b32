//! What Git and ssh say on stderr, in the words of someone who must do something about it.

use std::fmt::Display;
use std::path::Path;

use super::transport::refusals::KeyRefusal;
use super::transport::remote::{Protocol, Remote};
use super::{GitRef, RepoSource};
use crate::process::ProcessError;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct GitError {
    /// Git's exit code (128 for most), or 1.
    pub exit_code: i32,
    /// What is wrong, where, and what to do; one line.
    pub message: String,
    pub fault: Fault,
}

/// Where the error is, and so what may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// What was asked for, or what opens it: final.
    Request,
    /// The server, or the way to it (unreachable, connection lost, 5xx): another try may help.
    Server,
    /// The server dropped the connection before it let ssh in, as sshd does to an address that it holds back for a
    /// while: several tries, minutes apart, may help.
    Throttled,
    /// This machine: its disk, its memory, its programs, what it keeps. Another try may help.
    Host,
}

impl Fault {
    /// Of a server's answer.
    pub(super) fn server_if(is_passing: bool) -> Self {
        if is_passing { Self::Server } else { Self::Request }
    }
}

/// Why a repository of ours did not answer.
#[derive(Debug)]
pub(super) enum RepoError {
    /// Git says something that is not known to be about the other side: fetching all anew may help.
    Damaged(String),
    Failed(GitError),
}

/// The move of whoever asked for a commit that nothing reaches.
const PUSH_IT: &str = "push it to one, or ask for another one; one that nothing reaches, such as a fork's, is built by its full id for the role admin alone";

impl From<GitError> for RepoError {
    fn from(error: GitError) -> Self {
        Self::Failed(error)
    }
}

impl From<ProcessError> for GitError {
    fn from(error: ProcessError) -> Self {
        Self { exit_code: 1, message: error.to_string(), fault: Fault::Host }
    }
}

impl GitError {
    /// Trying again may help.
    pub fn is_transient(&self) -> bool {
        self.fault != Fault::Request
    }

    /// What is asked for cannot be had, as Git would say with 128.
    pub(super) fn refused(message: impl Display) -> Self {
        Self { exit_code: 128, message: message.to_string(), fault: Fault::Request }
    }

    /// Something of ours could not be read or written.
    pub(super) fn io(what: impl Display, error: impl Display) -> Self {
        Self {
            exit_code: 1,
            message: format!("{what}: {error}; check the disk and the data folder"),
            fault: Fault::Host,
        }
    }

    /// `others` are the first of its branches.
    pub(super) fn no_branch(branch: &GitRef, source: &RepoSource, others: &[String]) -> Self {
        let (repo, branch) = (&source.repo, branch.as_str());
        let shown: Vec<_> = others.iter().take(5).map(|name| format!("{name:?}")).collect();
        let more = if others.len() > shown.len() { ", …" } else { "" };
        Self::refused(match shown.is_empty() {
            true => format!("{repo} has no branch or tag {branch:?}: it is empty, push something to it"),
            false => format!(
                "{repo} has no branch or tag {branch:?}: push it, or ask for another one ({}{more})",
                shown.join(", ")
            ),
        })
    }

    /// No branch or tag reaches the commit, and the server gives out none of this id, if it was asked.
    pub(super) fn no_commit(id: &str, source: &RepoSource, is_granted: bool) -> Self {
        let repo = &source.repo;
        Self::refused(match is_granted {
            true => format!(
                "{repo} has no commit {id} on a branch or tag, and its server gives out none of this id: push it, or ask \
                 for another one"
            ),
            false => format!("{repo} has no commit {id} on a branch or tag: {PUSH_IT}"),
        })
    }

    pub(super) fn unreachable_commit(id: impl Display, source: &RepoSource) -> Self {
        let repo = &source.repo;
        Self::refused(format!("commit {id} is on no branch and no tag of {repo}: {PUSH_IT}"))
    }

    /// The object that was asked for is no commit; `kind` is Git's name of its type.
    pub(super) fn wrong_kind(name: &str, kind: &str, source: &RepoSource) -> Self {
        let repo = &source.repo;
        Self::refused(format!("{name} leads to no commit of {repo} but to a {kind}: name a commit, or a tag of one"))
    }

    /// The server says that it gives out nothing by its id.
    pub(super) fn id_refused(id: &str, source: &RepoSource) -> Self {
        let repo = &source.repo;
        Self::refused(format!(
            "no branch or tag of {repo} reaches commit {id}, and its Git server gives out no commit by its id: push the \
             commit to a branch, or set uploadpack.allowAnySHA1InWant=true for the repository there"
        ))
    }

    /// A mirror that was fetched anew has the same flaw as before.
    pub(super) fn flawed(what: &str, source: &RepoSource) -> Self {
        let repo = &source.repo;
        Self::refused(format!(
            "{repo} cannot be read ({what}), nor after all of it was fetched anew: run `git fsck` on its Git server"
        ))
    }

    pub(super) fn damaged(what: &str, source: &RepoSource) -> Self {
        let repo = &source.repo;
        let message = format!("the mirror of {repo} is damaged ({what}): try again, it is then fetched anew");
        Self { exit_code: 128, message, fault: Fault::Host }
    }
}

impl RepoError {
    /// What to say when nothing more can be done about it.
    pub fn into_error(self, source: &RepoSource) -> GitError {
        match self {
            Self::Damaged(what) => GitError::damaged(&what, source),
            Self::Failed(error) => error,
        }
    }
}

/// The last line that says why, without Git's prefix.
pub(super) fn last_words(stderr: &str) -> &str {
    let mut lines = reasons(stderr).rev();
    let fatal = lines.clone().find_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: ")));
    fatal.or(lines.next()).unwrap_or("Git says nothing")
}

/// The lines that may say why something failed. Warnings of ssh do not: the one about key exchanges that a quantum
/// computer could break has three lines and comes with every connection to an older server.
fn reasons(stderr: &str) -> impl DoubleEndedIterator<Item = &str> + Clone {
    let lines = stderr.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with("**") && !line.starts_with("Warning: "))
}

/// Stands for both of Git's wordings in a message about a repository of another object format.
pub(super) const OTHER_FORMAT: &str = "its ids have another length (SHA-1 and SHA-256)";

/// The repository there has ids of another length than the mirror here. The first wording is of protocol 2, the second
/// of protocol 0, the third of protocol 2 with a server that knows SHA-1 alone.
pub(super) fn is_other_format(stderr: &str) -> bool {
    [
        "mismatched algorithms: client",
        "does not support this repository's object format",
        "does not support algorithm '",
    ]
    .iter()
    .any(|words| reasons(stderr).any(|line| line.contains(words)))
}

/// The server let nobody in with the key that it was shown, or without one.
pub(super) fn is_refusal(stderr: &str) -> bool {
    reasons(stderr).any(|line| REFUSALS.iter().any(|words| line.contains(words)))
}

const REFUSALS: [&str; 2] = ["Permission denied (", "Too many authentication failures"];

/// The server dropped the connection before ssh was in: `kex_exchange_identification: read: Connection reset by peer`,
/// or `Connection closed by HOST port N` alone.
fn dropped(stderr: &str) -> Option<&str> {
    reasons(stderr).find(|line| {
        let is_ended = line.contains("Connection closed by ") || line.contains("Connection reset by ");
        let is_whole = line.starts_with("Connection ") && line.contains(" port ");
        let is_at_connect = line.starts_with("ssh: connect to host ");
        is_ended && (is_whole || is_at_connect || line.contains("_exchange_identification: "))
    })
}

/// Says what [`explain`] says of a refused key, of one that was not shown again.
pub(super) fn refused_before(
    refusal: KeyRefusal,
    source: &RepoSource,
    remote: &Remote,
    known_hosts: &Path,
) -> GitError {
    let error = explain(REFUSALS[0], 128, source, remote, known_hosts);
    let error = error.unwrap_or_else(|| GitError::refused(format!("{} refuses the key", remote.host)));
    GitError { message: format!("{} ({refusal})", error.message), ..error }
}

/// The way in which a server refused an object by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IdRefusal {
    /// The server gives out none by its id.
    Always,
    /// The server has none of this id, or does not give it out.
    This,
}

/// With protocol 0 Git knows what a server allows, and asks for nothing else; with protocol 2 the server answers.
pub(super) fn id_refusal(stderr: &str) -> Option<IdRefusal> {
    let says = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
    if says(&["Server does not allow request for unadvertised object"]) {
        return Some(IdRefusal::Always);
    }
    // The second is JGit's.
    (says(&["not our ref"]) || (says(&["want "]) && says(&[" not valid"]))).then_some(IdRefusal::This)
}

/// Explains a fetch that failed; `None` when Git's words are not known.
pub(super) fn explain(
    stderr: &str,
    exit_code: i32,
    source: &RepoSource,
    remote: &Remote,
    known_hosts: &Path,
) -> Option<GitError> {
    let says = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
    let (RepoSource { repo, key, .. }, Remote { url, host, .. }) = (source, remote);
    let put_key = format!(
        "`image-factory secrets put github-key --owner {} --repo {} FILE`",
        source.repo.owner(),
        source.repo.name()
    );
    let fatal = |message: String| Some(GitError { exit_code, message, fault: Fault::Request });
    let passing = |message: String| Some(GitError { exit_code, message, fault: Fault::Server });
    let ours = |message: String| Some(GitError { exit_code, message, fault: Fault::Host });

    if says(&["setpriv: not found", "ssh: not found"]) {
        return ours("ssh or setpriv is not installed: install openssh-client and util-linux".into());
    }
    if says(&["HOST IDENTIFICATION HAS CHANGED", "Host key for "]) && says(&["Host key verification failed"]) {
        return fatal(format!(
            "the host key of {host} is not the one in {}: if the change is known to be right, put the new one there",
            known_hosts.display()
        ));
    }
    if says(&["Host key verification failed", "host key is known for"]) {
        return fatal(format!(
            "the host key of {host} is unknown: add it to {} (ssh-keyscan shows it; compare it with what the host publishes)",
            known_hosts.display()
        ));
    }
    if is_refusal(stderr) {
        return fatal(match key {
            Some(key) => format!(
                "{host} refuses the deploy key {} for {repo}: add its public half to the repository's deploy keys, or store another one with {put_key}",
                key.fingerprint()
            ),
            None => format!("{host} asks for a key and there is no deploy key for {repo}: store one with {put_key}"),
        });
    }
    if says(&["Could not resolve host", "Name or service not known", "Temporary failure in name resolution"]) {
        return passing(format!("the host {host} is unknown: check GIT_URL and the name service"));
    }
    if let Some(message) = explain_https(stderr, source, remote) {
        return fatal(message);
    }
    let missing = says(&[
        "Repository not found",
        "does not appear to be a git repository",
        "could not read Username",
        "The requested URL returned error: 404",
    ]);
    if missing || (stderr.contains("repository '") && stderr.contains("' not found")) {
        return fatal(match (remote.protocol, key) {
            (Protocol::File, _) => format!("there is no repository {repo} at {url}: check the name and GIT_URL"),
            (Protocol::Ssh, Some(key)) => format!(
                "there is no repository {repo} at {url}, or the deploy key {} may not read it: check the name, or {put_key}",
                key.fingerprint()
            ),
            _ if remote.authorization.is_some() => {
                format!(
                    "there is no repository {repo} at {url}, or GIT_TOKEN may not read it: check the name and the token"
                )
            }
            (Protocol::Ssh, None) => {
                format!("there is no repository {repo} at {url}, or it is private: check the name, or {put_key}")
            }
            _ => format!(
                "there is no repository {repo} at {url}, or it is private: check the name, or set GIT_TOKEN, or {put_key}"
            ),
        });
    }
    if let Some(needed) = newer_format(stderr) {
        let whose = if host.is_empty() { "of this machine".into() } else { format!("of {host}") };
        return fatal(format!(
            "{url} has {needed}, which the Git {whose} does not know: install a newer Git there, or convert the repository"
        ));
    }
    if says(&["dubious ownership"]) {
        return fatal(format!(
            "{url} belongs to another user, so Git does not read it: change its owner, or serve it by ssh or https"
        ));
    }
    if says(&["No space left on device", "Disk quota exceeded"]) {
        return ours(format!("no space left for the mirror of {repo}: make room in the data folder"));
    }
    if let Some(why) = dropped(stderr).filter(|_| remote.protocol == Protocol::Ssh) {
        return Some(GitError {
            exit_code,
            message: format!(
                "{host} dropped the connection before it let ssh in ({why}): it is overloaded, or holds this address \
                 back for some minutes after refused keys (PerSourcePenalties); wait, then build again"
            ),
            fault: Fault::Throttled,
        });
    }
    let connection = [
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
    ];
    if says(&connection) {
        let why = reasons(stderr).find(|line| connection.iter().any(|c| line.contains(c))).unwrap_or_default();
        return passing(format!(
            "{host} cannot be reached, or broke the connection off ({why}): try again when it is there"
        ));
    }
    if says(&["Could not read from remote repository", "fatal: unable to access"]) {
        let why = reasons(stderr).next().unwrap_or_default();
        return passing(format!("{host} does not give out {repo} ({why}): look at what it says there"));
    }
    None
}

/// The parts of a repository's format that are too new for the Git that opens it: the extensions stand below their headline, each
/// behind a tab.
fn newer_format(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().map(|line| line.trim_end_matches('\r'));
    let headline = lines
        .find(|line| line.contains("unknown repository extension") || line.contains("Expected git repo version"))?;
    if let Some((_, version)) = headline.split_once(", found ") {
        return Some(format!("the repository format {}", version.trim()));
    }
    let names: Vec<_> = lines.map_while(|line| line.strip_prefix('\t')).map(str::trim).collect();
    Some(format!("the repository extension {}", names.join(", ")))
}

/// What is wrong with a server's certificate or with the token, in the words of Git with GnuTLS and with OpenSSL.
fn explain_https(stderr: &str, source: &RepoSource, remote: &Remote) -> Option<String> {
    let says = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
    let (repo, Remote { host, .. }) = (&source.repo, remote);
    let refused =
        ["The requested URL returned error: 401", "The requested URL returned error: 403", "Authentication failed"];
    match remote.authorization {
        // Refused, Git would ask for another one.
        Some(_) if says(&refused) || says(&["could not read Username"]) => {
            return Some(format!(
                "{host} refuses GIT_TOKEN for {repo}: has it expired, and may it read this repository?"
            ));
        }
        None if says(&refused) => {
            return Some(format!("{host} lets nobody read {repo} without a login: set GIT_TOKEN"));
        }
        _ => {}
    }
    if says(&["certificate has expired", "expired certificate", "certificate is not yet valid", "not activated"]) {
        return Some(format!(
            "the certificate of {host} has expired, or is not yet valid: renew it, or set the clocks"
        ));
    }
    if says(&["does not match target host", "no alternative certificate subject name"]) {
        return Some(format!("{host} shows another host's certificate: correct GIT_URL, or the server's certificate"));
    }
    // GnuTLS does not say which.
    if says(&["server certificate verification failed"]) {
        return Some(format!(
            "the certificate of {host} is not trusted, or has expired: renew it, or put its authority's certificate into \
             a file and its path into GIT_CACERT"
        ));
    }
    if says(&["SSL certificate problem", "certificate verify"]) {
        return Some(format!(
            "the certificate of {host} is signed by nobody who is trusted: put its authority's certificate into a file \
             and its path into GIT_CACERT"
        ));
    }
    if says(&["gnutls_handshake() failed", "SSL routines", "SSL_ERROR_", "SSL connect error"]) {
        let why = stderr.lines().find(|line| line.starts_with("fatal: ")).unwrap_or_default();
        return Some(format!("no TLS with {host} ({why}): is it an https server?"));
    }
    None
}

#[cfg(test)]
mod tests;
