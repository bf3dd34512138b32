use std::path::Path;

use super::*;
use crate::model::RepoName;
use crate::ssh::is_key_refusal;

/// The messages are those of Git 2.39 for repositories of Git 2.45 and later, and for a version that does not exist
/// yet.
#[test]
fn a_repository_that_is_too_new_is_named() {
    const FILE: &str = "file:///srv/git/acme/hello.git";
    const END: &str =
        "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\n";
    for (url, said, message) in [
        (
            FILE,
            "fatal: unknown repository extension found:\n\trefstorage\n",
            "file:///srv/git/acme/hello.git has the repository extension refstorage, which the Git of this machine does not",
        ),
        (
            FILE,
            "fatal: unknown repository extensions found:\n\trefstorage\n\tone more\n",
            "the repository extension refstorage, one more, which",
        ),
        (
            "git@git.example.com:acme/hello.git",
            "fatal: unknown repository extension found:\r\n\tcompatobjectformat\r\n",
            "the repository extension compatobjectformat, which the Git of git.example.com does not know: install a newer",
        ),
        (FILE, "fatal: Expected git repo version <= 1, found 2\n", "the repository format 2, which the Git of this"),
    ] {
        let error = explained(url, &format!("{said}{END}")).unwrap();
        assert!(error.message.contains(message) && !error.message.contains(['\n', '\t', '\r']), "{error}");
        assert_eq!(error.fault, Fault::Config);
    }
}

fn explained(url: &str, stderr: &str) -> Option<GitError> {
    let source = RepoSource { repo: RepoName::parse("acme/hello").unwrap(), url: url.into(), key: None };
    explain(stderr, 128, &source, &source.remote().unwrap(), Path::new("/etc/known_hosts"))
}

/// The messages are those of Git 2.39, OpenSSH 9.2 and GitHub.
#[test]
fn messages_of_git_and_ssh_are_explained() {
    const SSH: &str = "git@github.com:acme/hello.git";
    const HTTPS: &str = "https://github.com/acme/hello.git";
    const READ: &str = "fatal: Could not read from remote repository.\n\nPlease make sure you have the correct access rights\nand the repository exists.\n";
    let explained = [
        (SSH, "git@github.com: Permission denied (publickey).\r\n"),
        (SSH, "No ED25519 host key is known for github.com and you have requested strict checking.\r\nHost key verification failed.\r\n"),
        (SSH, "@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\r\nHost key for github.com has changed and you have requested strict checking.\r\nHost key verification failed.\r\n"),
        (SSH, "ssh: Could not resolve hostname github.com: Name or service not known\r\n"),
        (SSH, "ssh: connect to host github.com port 22: Connection refused\r\n"),
        (SSH, "Connection timed out during banner exchange\r\nConnection to 127.0.0.1 port 2222 timed out\r\n"),
        (SSH, "kex_exchange_identification: Connection closed by remote host\r\n"),
        // An sshd that holds this address back after refused keys says this; seen with OpenSSH 10.6 and 9.2.
        (SSH, "kex_exchange_identification: read: Connection reset by peer\r\nConnection reset by 192.0.2.1 port 22\r\n"),
        (SSH, "ssh: connect to host github.com port 22: Connection reset by peer\r\n"),
        (SSH, "Connection closed by 192.0.2.1 port 22\r\n"),
        (SSH, "Received disconnect from 192.0.2.1 port 22:2: Too many authentication failures\r\nDisconnected from 192.0.2.1 port 22\r\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': Recv failure: Connection reset by peer\n"),
        (SSH, "ERROR: Repository not found.\n"),
        (SSH, "fatal: '/srv/acme/hello.git' does not appear to be a git repository\n"),
        (SSH, "sh: 1: exec: setpriv: not found\n"),
        (SSH, "remote: something new\n"),
        (HTTPS, "fatal: could not read Username for 'https://github.com': terminal prompts disabled\n"),
        (HTTPS, "remote: Not Found\nfatal: repository 'https://github.com/acme/hello.git/' not found\n"),
        (HTTPS, "fatal: Authentication failed for 'https://github.com/acme/hello.git/'\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': The requested URL returned error: 503\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': Could not resolve host: github.com\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': SSL certificate problem: self-signed certificate\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': server certificate verification failed. CAfile: none CRLfile: none\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': SSL certificate problem: certificate has expired\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': SSL: no alternative certificate subject name matches target host name 'github.com'\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': error:0A00010B:SSL routines::wrong version number\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': SSL connection timeout\n"),
        (HTTPS, "fatal: unable to access 'https://github.com/acme/hello.git/': Operation too slow. Less than 1 bytes/sec transferred the last 60 seconds\n"),
        ("file:///srv/acme/hello.git", "fatal: '/srv/acme/hello.git' does not appear to be a git repository\n"),
        ("file:///srv/acme/hello.git", "fatal: detected dubious ownership in repository at '/srv/acme/hello.git'\n"),
    ]
    .map(|(url, stderr)| {
        let error = explained(url, &format!("{stderr}{READ}")).unwrap_or_else(|| panic!("{stderr}"));
        assert!(!error.message.contains('\n') && error.exit_code == 128);
        format!("{url}\n{}\n{:?}: {error}\n", stderr.replace('\r', "").trim_end(), error.fault)
    });
    insta::assert_snapshot!(explained.join("\n"));
}

/// The details of each message stand in their places, and no part of a message is longer than 25 words.
#[test]
fn messages_of_missing_branches_and_commits() {
    let source = RepoSource { repo: RepoName::parse("acme/hello").unwrap(), url: "file:///x".into(), key: None };
    let branch = GitRef::new("topic").unwrap();
    let others = ["a", "b", "c", "d", "e", "f"].map(String::from);
    let messages = [
        GitError::no_branch(&branch, &source, &[]),
        GitError::no_branch(&branch, &source, &others[..2]),
        GitError::no_branch(&branch, &source, &others),
        GitError::no_commit("0123", &source, false),
        GitError::no_commit("0123", &source, true),
        GitError::unreachable_commit("0123", &source),
        GitError::wrong_kind("v1", "tree", &source),
        GitError::id_refused("0123", &source),
        GitError::flawed("object 0123 is missing", &source),
        GitError::damaged("object 0123 is missing", &source),
    ];
    insta::assert_snapshot!(messages.map(|error| format!("{:?}: {error}", error.fault)).join("\n"));
    for Advice { text, cause, cure, .. } in advice() {
        assert!([text, cause, cure].iter().all(|part| (1..=25).contains(&part.split(' ').count())), "{text}: {cure}");
    }
}

#[test]
fn unknown_words_are_not_explained() {
    for stderr in ["fatal: bad object refs/heads/develop\n", "error: packfile x.pack is corrupt\n", ""] {
        assert_eq!(explained("git@github.com:acme/hello.git", stderr), None);
    }
    assert_eq!(last_words("error: one\nfatal: two\nhint: three\n"), "two");
    assert_eq!(last_words("something\n\n"), "something");
}

/// OpenSSH 10.6 says this to every server without a post-quantum key exchange, each line with CR LF.
const WARNING: &str = "** WARNING: connection is not using a post-quantum key exchange algorithm.\r\n\
     ** This session may be vulnerable to \"store now, decrypt later\" attacks.\r\n\
     ** The server may need to be upgraded. See https://openssh.com/pq.html\r\n";

#[test]
fn a_warning_is_no_reason() {
    const SSH: &str = "git@github.com:acme/hello.git";
    const READ: &str = "fatal: Could not read from remote repository.\n";
    for (stderr, why) in [
        ("remote: something new\n", "remote: something new"),
        ("", "fatal: Could not read from remote repository."),
        ("ssh: connect to host github.com port 22: Connection refused\r\n", "port 22: Connection refused"),
    ] {
        let plain = explained(SSH, &format!("{stderr}{READ}")).unwrap();
        let warned = explained(SSH, &format!("{WARNING}{stderr}{READ}")).unwrap();
        assert!(warned == plain && warned.message.contains(why), "{warned}");
    }
    assert_eq!(last_words(&format!("git-lfs-authenticate: not found\n{WARNING}")), "git-lfs-authenticate: not found");
    assert_eq!(last_words(WARNING), "Git says nothing");
    assert_eq!(explained(SSH, WARNING), None);
    assert!(!is_key_refusal(WARNING) && !is_other_format(WARNING));
    let refused = format!("{WARNING}git@github.com: Permission denied (publickey).\r\n");
    assert!(is_key_refusal(&refused) && explained(SSH, &refused).unwrap().message.contains("there is no deploy key"));
}

/// Git 2.39 and 2.55 say this, by protocol 2 and by protocol 0, where the server's end may come first.
#[test]
fn another_object_format_is_told_by_either_wording() {
    const HUNG_UP: &str = "fatal: the remote end hung up unexpectedly\n";
    let old = "fatal: Server does not support this repository's object format\n";
    for stderr in [
        "fatal: mismatched algorithms: client sha1; server sha256\n".to_owned(),
        "fatal: mismatched algorithms: client sha256; server sha1\n".to_owned(),
        "fatal: the server does not support algorithm 'sha256'\n".to_owned(),
        old.to_owned(),
        format!("{old}{HUNG_UP}"),
        format!("{HUNG_UP}{old}"),
    ] {
        assert!(is_other_format(&stderr), "{stderr}");
    }
    assert!(!is_other_format(HUNG_UP));
}
