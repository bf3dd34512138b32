//! Facts read from what Git and ssh write to stderr.

use crate::ssh::reasons;

/// Returns the last line that gives a reason, without Git's prefix.
pub(in crate::git) fn last_words(stderr: &str) -> &str {
    let mut lines = reasons(stderr).rev();
    let fatal = lines.clone().find_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: ")));
    fatal.or(lines.next()).unwrap_or("Git says nothing")
}

/// Returns true if the repository there has ids of another length than the mirror here. The first wording is that of
/// protocol 2, the second that of protocol 0, the third that of protocol 2 with a server that knows SHA-1 alone.
pub(in crate::git) fn is_other_format(stderr: &str) -> bool {
    [
        "mismatched algorithms: client",
        "does not support this repository's object format",
        "does not support algorithm '",
    ]
    .iter()
    .any(|words| reasons(stderr).any(|line| line.contains(words)))
}

/// Returns the line that says that the server dropped the connection before it let ssh in:
/// `kex_exchange_identification: read: Connection reset by peer`, or `Connection closed by HOST port N` alone.
pub(super) fn dropped(stderr: &str) -> Option<&str> {
    reasons(stderr).find(|line| {
        let is_ended = line.contains("Connection closed by ") || line.contains("Connection reset by ");
        let is_whole = line.starts_with("Connection ") && line.contains(" port ");
        let is_at_connect = line.starts_with("ssh: connect to host ");
        is_ended && (is_whole || is_at_connect || line.contains("_exchange_identification: "))
    })
}

/// Scope in which a server refused to give out an object by its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::git) enum IdRefusal {
    /// The server gives out no object by its id.
    Always,
    /// The server has no object of this id, or does not give it out.
    This,
}

/// Returns how the server refused an object by its id. With protocol 0 Git itself knows what a server allows and asks
/// for nothing else; with protocol 2 the server answers.
pub(in crate::git) fn id_refusal(stderr: &str) -> Option<IdRefusal> {
    let says = |words: &[&str]| words.iter().any(|w| stderr.contains(w));
    if says(&["Server does not allow request for unadvertised object"]) {
        return Some(IdRefusal::Always);
    }
    // JGit says `want ID not valid`.
    (says(&["not our ref"]) || (says(&["want "]) && says(&[" not valid"]))).then_some(IdRefusal::This)
}

/// Returns the parts of a repository's format that are too new for the Git that opens it. The extensions stand below
/// their headline, each behind a tab.
pub(super) fn newer_format(stderr: &str) -> Option<String> {
    let mut lines = stderr.lines().map(|line| line.trim_end_matches('\r'));
    let headline = lines
        .find(|line| line.contains("unknown repository extension") || line.contains("Expected git repo version"))?;
    if let Some((_, version)) = headline.split_once(", found ") {
        return Some(format!("the repository format {}", version.trim()));
    }
    let names: Vec<_> = lines.map_while(|line| line.strip_prefix('\t')).map(str::trim).collect();
    Some(format!("the repository extension {}", names.join(", ")))
}
