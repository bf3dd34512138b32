use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::harness::{DeployKey, GitHost, KeyType, Silent, eventually, port, processes_of};

pub(super) struct Ssh {
    pub host: GitHost,
    pub repo: Repo,
    pub key: DeployKey,
    pub git: Git,
    pub dir: tempfile::TempDir,
}

impl Ssh {
    pub async fn start() -> Self {
        Self::at(GitHost::start().await)
    }

    pub fn at(host: GitHost) -> Self {
        let dir = folder();
        let key = DeployKey::generate(KeyType::Ed25519, "the passphrase");
        host.authorize(&[&key]);
        let repo = host.repo("acme", "hello");
        let git = Git::new(config(dir.path(), &host.known_hosts())).unwrap();
        Self { host, repo, key, git, dir }
    }

    pub fn source(&self) -> RepoSource {
        self.source_at(&self.host.url(), "acme/hello")
    }

    pub fn source_at(&self, url: &str, repo: &str) -> RepoSource {
        let repo = RepoName::parse(repo).unwrap();
        let url = url.replace("{owner}", repo.owner()).replace("{repo}", repo.name());
        RepoSource { repo, url, key: library_key(&self.key, "the passphrase") }
    }

    pub async fn fails(&self, source: &RepoSource) -> GitError {
        let log = Log::default();
        let develop = branch("develop");
        let error = self.git.clone(source, &develop, &CommitSpec::Head, false, &log).await.expect_err("it is fetched");
        assert_eq!(error.exit_code, 128, "{error:?}\n{}", log.text());
        error
    }
}

#[tokio::test]
async fn by_ssh_with_each_kind_of_key() {
    let ssh = Ssh::start().await;
    let first = ssh.repo.commit("develop", &[("a", "1")]);
    let pull = ssh.repo.commit("gone", &[("a", "2")]);
    ssh.repo.git(&["push", "-q", "origin", &format!("{pull}:refs/pull/1/head"), ":refs/heads/gone"]);
    for kind in [KeyType::Ed25519, KeyType::Ecdsa, KeyType::Rsa] {
        let key = DeployKey::generate(kind, "the passphrase");
        ssh.host.authorize(&[&key]);
        let dir = folder();
        let git = Git::new(config(dir.path(), &ssh.host.known_hosts())).unwrap();
        let source = RepoSource { key: library_key(&key, "the passphrase"), ..ssh.source() };
        for (wanted, pushed, expected) in [("HEAD", false, &first), (&pull, true, &pull)] {
            let (develop, wanted) = (branch("develop"), commit(wanted));
            let mirror = git.clone(&source, &develop, &wanted, pushed, &Log::default()).await.unwrap();
            let oid = git.resolve(&mirror, &develop, &wanted, pushed).await.unwrap();
            assert_eq!(oid.to_string(), *expected);
        }
        // The agent is gone with its socket; the connection's stays.
        let left: Vec<_> = std::fs::read_dir(dir.path().join("run")).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert!(left.len() == 1 && left[0].len() == 13, "{left:?}");
    }
}

#[tokio::test]
async fn a_refusal_by_the_host_is_explained() {
    let ssh = Ssh::start().await;
    ssh.repo.commit("develop", &[("a", "1")]);

    let error = ssh.fails(&RepoSource { key: None, ..ssh.source() }).await;
    insta::assert_snapshot!(failure(&error, &[]), @"Config 128 final: 127.0.0.1:[port] asks for a key and there is no deploy key for acme/hello: store one with `image-factory secrets put github-key --owner acme --repo hello FILE`");

    let error = ssh.fails(&ssh.source_at(&ssh.host.url(), "acme/other")).await;
    let fingerprint = ssh.source().key.unwrap().fingerprint();
    insta::assert_snapshot!(failure(&error, &[(&fingerprint, "fingerprint")]), @"Hidden 128 final: there is no repository acme/other at ssh://[user]@127.0.0.1:[port][folder]/git/acme/other.git, or the deploy key [fingerprint] may not read it: check the name, or `image-factory secrets put github-key --owner acme --repo other FILE`");

    let other = DeployKey::generate(KeyType::Ed25519, "the passphrase");
    let source = RepoSource { key: library_key(&other, "the passphrase"), ..ssh.source() };
    let error = ssh.fails(&source).await;
    let fingerprint = source.key.as_ref().unwrap().fingerprint();
    insta::assert_snapshot!(failure(&error, &[(&fingerprint, "fingerprint")]), @"Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE`");
}

#[tokio::test]
async fn host_keys_are_pinned() {
    let ssh = Ssh::start().await;
    ssh.repo.commit("develop", &[("a", "1")]);
    let known_hosts = ssh.host.known_hosts();
    let right = std::fs::read_to_string(&known_hosts).unwrap();

    std::fs::write(&known_hosts, "").unwrap();
    let empty = ssh.fails(&ssh.source()).await;
    std::fs::remove_file(&known_hosts).unwrap();
    let missing = ssh.fails(&ssh.source()).await;
    insta::assert_snapshot!([empty, missing].map(|error| failure(&error, &[])).join("\n"), @r"
    Config 128 final: the host key of 127.0.0.1:[port] is unknown: compare it with what the host publishes, and add it with `image-factory known-hosts add 127.0.0.1:[port]`
    Config 128 final: the host key of 127.0.0.1:[port] is unknown: compare it with what the host publishes, and add it with `image-factory known-hosts add 127.0.0.1:[port]`
    ");
    assert!(!known_hosts.exists());

    let (host, _) = right.split_once(' ').unwrap();
    let other = DeployKey::generate(KeyType::Ed25519, "").public;
    std::fs::write(&known_hosts, format!("{host} {other}\n")).unwrap();
    let error = ssh.fails(&ssh.source()).await;
    insta::assert_snapshot!(failure(&error, &[(known_hosts.to_str().unwrap(), "known_hosts")]), @"Config 128 final: the host key of 127.0.0.1:[port] is not the one in [known_hosts]: if the change is known to be right, remove the old line there, then `image-factory known-hosts add 127.0.0.1:[port]`");

    // A path with all that ssh and the shell might take for something else.
    let odd = ssh.dir.path().join("it's %h a $HOME");
    std::fs::write(&odd, right).unwrap();
    let git = Git::new(config(ssh.dir.path(), &odd)).unwrap();
    git.clone(&ssh.source(), &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap();
}

#[tokio::test]
async fn an_unreachable_host_is_retryable() {
    let ssh = Ssh::start().await;
    let nobody = port();
    let error = ssh.fails(&ssh.source_at(&ssh.host.url_at(nobody), "acme/hello")).await;
    insta::assert_snapshot!(failure(&error, &[]), @"Server 128 transient: 127.0.0.1:[port] cannot be reached, or broke the connection off (ssh: connect to host 127.0.0.1 port [port]: Connection refused): try again when it is there");
    let error = ssh.fails(&ssh.source_at("git@no-such-host.invalid:{owner}/{repo}.git", "acme/hello")).await;
    insta::assert_snapshot!(failure(&error, &[]), @"Server 128 transient: the host no-such-host.invalid is unknown: check GIT_URL and the name service");
    let error =
        ssh.fails(&ssh.source_at(&format!("https://127.0.0.1:{nobody}/{{owner}}/{{repo}}"), "acme/hello")).await;
    insta::assert_snapshot!(failure(&error, &[]), @"Server 128 transient: 127.0.0.1:[port] cannot be reached, or broke the connection off (fatal: unable to access 'https://127.0.0.1:[port]/acme/hello/': [reason]): try again when it is there");
}

#[tokio::test]
async fn one_connection_serves_many_fetches_and_another_key_gets_its_own() {
    let ssh = Ssh::start().await;
    let (develop, log) = (branch("develop"), Log::default());
    let accepted = || ssh.host.output().matches("Accepted publickey").count();
    for (round, expected) in [("1", 1), ("2", 1)] {
        ssh.repo.commit("develop", &[("a", round)]);
        ssh.git.clone(&ssh.source(), &develop, &CommitSpec::Head, false, &log).await.unwrap();
        assert_eq!(accepted(), expected, "{}", ssh.host.output());
    }
    let other = DeployKey::generate(KeyType::Ed25519, "the passphrase");
    let source = RepoSource { key: library_key(&other, "the passphrase"), ..ssh.source() };
    ssh.repo.commit("develop", &[("a", "3")]);
    // The old connection does not serve a key that is not let in.
    insta::assert_snapshot!(failure(&ssh.fails(&source).await, &[]), @"Key 128 final: 127.0.0.1:[port] refuses the deploy key SHA256:[fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE`");
    ssh.host.authorize(&[&other]);
    ssh.git.forget_key_refusals(&source);
    ssh.git.clone(&source, &develop, &CommitSpec::Head, false, &log).await.unwrap();
    assert_eq!(accepted(), 2);
}

/// Processes that have `needle` in their command line and are ssh's or Git's.
fn of_git(needle: &str) -> Vec<String> {
    processes_of(needle).into_iter().filter(|line| line.contains("ssh ") || line.contains("git")).collect()
}

#[tokio::test]
async fn a_cancelled_fetch_leaves_nothing() {
    let ssh = Ssh::start().await;
    let silent = Silent::start();
    let source = ssh.source_at(&ssh.host.url_at(silent.port()), "acme/hello");
    let needle = format!("-p {} ", silent.port());
    let (develop, log) = (branch("develop"), Log::default());
    let fetch = ssh.git.clone(&source, &develop, &CommitSpec::Head, false, &log);
    let limit = Duration::from_secs(20);
    tokio::select! {
        result = fetch => panic!("{result:?}"),
        () = eventually(limit, "ssh runs", async || (!of_git(&needle).is_empty()).then_some(())) => {}
    }
    eventually(limit, "ssh is gone", async || of_git(&needle).is_empty().then_some(())).await;
    assert_eq!(std::fs::read_dir(ssh.dir.path().join("run")).unwrap().count(), 0);
    // The next fetch succeeds.
    ssh.repo.commit("develop", &[("a", "1")]);
    ssh.git.clone(&ssh.source(), &develop, &CommitSpec::Head, false, &log).await.unwrap();
}

/// The process that the next test kills.
#[tokio::test]
#[ignore = "run by another test"]
async fn fetch_to_be_killed() {
    let [dir, url] = ["GIT_TEST_DIR", "GIT_TEST_URL"].map(|name| std::env::var(name).unwrap());
    let git = Git::new(config(Path::new(&dir), Path::new("/nonexistent"))).unwrap();
    println!("it starts");
    let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
    let result = git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await;
    panic!("{result:?}");
}

#[tokio::test]
async fn after_a_sigkill_nothing_is_left() {
    let limit = Duration::from_secs(20);
    for scheme in ["ssh://git@", "http://"] {
        let (dir, silent) = (folder(), Silent::start());
        let port = silent.port();
        let mut daemon = Command::new(std::env::current_exe().unwrap());
        daemon.args(["--exact", "git::transport::fetch_to_be_killed", "--ignored", "--nocapture"]);
        daemon.env("GIT_TEST_DIR", dir.path()).env("GIT_TEST_URL", format!("{scheme}127.0.0.1:{port}/acme/hello.git"));
        let mut daemon = daemon.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(daemon.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap().contains("it starts")));
        let needle = if scheme.starts_with("ssh") { format!("-p {port} ") } else { format!("127.0.0.1:{port}/") };
        let runs =
            async || of_git(&needle).iter().any(|l| l.contains("ssh -F") || l.contains("remote-http")).then_some(());
        eventually(limit, "it waits for the server", runs).await;
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        if scheme.starts_with("http") {
            // The kernel did not kill it, because it is no child of ours. The next start does.
            Git::new(config(dir.path(), Path::new("/nonexistent"))).unwrap();
        }
        eventually(limit, "all are gone", async || of_git(&needle).is_empty().then_some(())).await;
    }
}

#[tokio::test]
async fn a_password_reaches_only_the_server() {
    let port = port();
    let server = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let dir = folder();
    let git = Git::new(config(dir.path(), Path::new("/nonexistent"))).unwrap();
    let url = format!("http://me:hunter22@127.0.0.1:{port}/acme/hello.git");
    let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: None };
    let (develop, log) = (branch("develop"), Log::default());
    let serve = async {
        let (mut peer, _) = server.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(peer.read_buf(&mut request).await.unwrap() > 0);
        }
        let lines = processes_of(&format!("127.0.0.1:{port}"));
        assert!(!lines.is_empty() && lines.iter().all(|line| !line.contains("hunter22")), "{lines:?}");
        let answer = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        peer.write_all(answer).await.unwrap();
        String::from_utf8(request).unwrap()
    };
    let (result, request) = tokio::join!(git.clone(&source, &develop, &CommitSpec::Head, false, &log), serve);
    assert!(request.contains("Authorization: Basic bWU6aHVudGVyMjI=\r\n"), "{request}");
    let error = result.unwrap_err();
    let shown = format!("{error:?} {} {source:?}", log.text());
    assert!(!shown.contains("hunter22") && !shown.contains("aHVudGVy"), "{shown}");
    insta::assert_snapshot!(failure(&error, &[]), @"Config 128 final: 127.0.0.1:[port] refuses GIT_TOKEN for acme/hello: renew the token, or give it the right to read this repository");
    let stored = Command::new("grep").args(["-r", "hunter22"]).arg(dir.path()).output().unwrap();
    assert!(stored.stdout.is_empty(), "{stored:?}");
}

#[tokio::test]
async fn other_kinds_of_url_never_reach_git() {
    let local = Local::new();
    let trace = local.dir.path().join("trace");
    let mut failures = Vec::new();
    for url in [format!("ext::sh -c touch% {}", trace.display()), "git://127.0.0.1/a".into(), "--upload-pack=id".into()]
    {
        let source = RepoSource { url, ..local.source.clone() };
        let error = local.git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await;
        failures.push(failure(&error.unwrap_err(), &[]));
    }
    insta::assert_snapshot!(failures.join("\n"), @r"
    Request 128 final: the URL of acme/hello cannot be used: it contains a space or a control character; correct GIT_URL
    Request 128 final: the URL of acme/hello cannot be used: only https, http, ssh and file URLs, and user@host:path, are allowed; correct GIT_URL
    Request 128 final: the URL of acme/hello cannot be used: it is neither a URL nor user@host:path; a path is written file:///path; correct GIT_URL
    ");
    assert!(!trace.exists());
}
