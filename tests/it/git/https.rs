//! Fetches by https from Git's own server.

use std::path::PathBuf;

use image_factory::git::{GitAccess, GitToken};

use super::*;
use crate::harness::{Certificate, HttpsHost, LfsServer, processes_of};

struct Https {
    host: HttpsHost,
    dir: tempfile::TempDir,
}

const TOKEN: &str = "ghp_0123456789";
/// `x-access-token:TOKEN`
const LOGIN: &str = "Basic eC1hY2Nlc3MtdG9rZW46Z2hwXzAxMjM0NTY3ODk=";

impl Https {
    fn start() -> Self {
        Self { host: HttpsHost::start(), dir: folder() }
    }

    fn source(&self, name: &str) -> RepoSource {
        let url = self.host.url().replace("{owner}", "acme").replace("{repo}", name);
        RepoSource { repo: RepoName::new("acme", name).unwrap(), url, key: None }
    }

    fn git(&self, token: Option<&str>, cacert: Option<PathBuf>) -> Git {
        let token = token.map(|token| GitToken::new(&token.to_owned().into(), Some(&self.host.url())).unwrap());
        Git::new(GitConfig {
            access: GitAccess::new(token, cacert),
            ..config(self.dir.path(), Path::new("/nonexistent"))
        })
        .unwrap()
    }

    fn trusting(&self, token: Option<&str>) -> Git {
        self.git(token, Some(self.host.authority()))
    }

    /// The head of develop.
    async fn head(&self, git: &Git, name: &str) -> Result<String, GitError> {
        let log = Log::default();
        let (source, develop) = (self.source(name), branch("develop"));
        let result = async {
            let mirror = git.clone(&source, &develop, &CommitSpec::Head, false, &log).await?;
            git.resolve(&mirror, &develop, &CommitSpec::Head, false).await
        };
        let result = result.await;
        let shown = format!("{result:?} {}", log.text());
        assert!(!shown.contains(TOKEN) && !shown.contains("eC1hY2Nl"), "{shown}");
        Ok(result?.to_string())
    }

    async fn fails(&self, git: &Git) -> String {
        failure(&self.head(git, "hello").await.expect_err("it is fetched"), &[])
    }
}

#[tokio::test]
async fn a_token_also_opens_lfs_files_and_submodules() {
    let https = Https::start();
    let (repo, lib) = (https.host.repo("acme", "hello"), https.host.repo("acme", "lib"));
    let lfs = LfsServer::start(Some(LOGIN), Path::new("/nonexistent"));
    https.host.require(LOGIN);
    https.host.lfs(&lfs.url());
    repo.gitlink("lib", &lib.commit("main", &[("lib.c", "of the submodule")]));
    let head = repo.commit(
        "develop",
        &[
            (".gitattributes", "*.bin filter=lfs\n"),
            (".gitmodules", "[submodule \"lib\"]\n\tpath = lib\n\turl = ../lib.git\n"),
            ("large.bin", &lfs.put(b"of LFS")),
        ],
    );
    let (git, log) = (https.trusting(Some(TOKEN)), Log::default());
    let mirror = git.clone(&https.source("hello"), &branch("develop"), &commit(&head), false, &log).await.unwrap();
    let snapshot = git.snapshot(&mirror, &head.parse().unwrap(), "key", &Secrets::default(), &log).await.unwrap();
    let contents = contents(&snapshot).await.unwrap();
    for file in [("large.bin".to_owned(), b"of LFS".to_vec()), ("lib/lib.c".into(), b"of the submodule".to_vec())] {
        assert!(contents.contains(&file), "{contents:?}");
    }
    assert!(!log.text().contains(TOKEN), "{}", log.text());
    // The object's own address is elsewhere, and was given no header.
    let object = lfs.requests().into_iter().find(|request| request.path.contains("objects-of-lfs")).unwrap();
    assert!(object.headers.get("authorization").is_none_or(|header| header != LOGIN));
}

#[tokio::test]
async fn a_public_repository_needs_no_key_and_no_token() {
    let https = Https::start();
    let repo = https.host.repo("acme", "hello");
    let (git, first) = (https.trusting(None), repo.commit("develop", &[("a", "1")]));
    assert_eq!(https.head(&git, "hello").await.unwrap(), first);
    let second = repo.commit("develop", &[("a", "2")]);
    assert_eq!(https.head(&git, "hello").await.unwrap(), second);
    assert!(https.host.requests().iter().all(|(_, authorization)| authorization.is_none()));
    let mirror = git.clone(&https.source("hello"), &branch("develop"), &commit(&first), false, &Log::default()).await;
    let snapshot = git
        .snapshot(&mirror.unwrap(), &second.parse().unwrap(), "key", &Secrets::default(), &Log::default())
        .await
        .unwrap();
    assert_eq!(contents(&snapshot).await.unwrap(), [("a".to_owned(), b"2".to_vec())]);
}

#[tokio::test]
async fn a_token_opens_a_private_repository_and_is_shown_nowhere() {
    let https = Https::start();
    let id = https.host.repo("acme", "hello").commit("develop", &[("a", "1")]);
    https.host.require(LOGIN);
    let git = https.trusting(Some(TOKEN));
    assert_eq!(https.head(&git, "hello").await.unwrap(), id);
    // At once, not after a refusal.
    let requests = https.host.requests();
    assert!(requests.iter().all(|(_, authorization)| authorization.as_deref() == Some(LOGIN)), "{requests:?}");
    assert!(processes_of(TOKEN).is_empty());
    for secret in [TOKEN, &LOGIN["Basic ".len()..]] {
        let stored = std::process::Command::new("grep").args(["-r", secret]).arg(https.dir.path()).output().unwrap();
        assert!(stored.stdout.is_empty(), "{stored:?}");
    }
    // Another server gets none.
    let other = Https::start();
    other.host.repo("acme", "hello").commit("develop", &[("a", "1")]);
    other.head(&Git::new(https_config(&https, &other, Some(other.host.authority()))).unwrap(), "hello").await.unwrap();
    assert!(other.host.requests().iter().all(|(_, authorization)| authorization.is_none()));
}

/// The token of one host, the folder of another.
fn https_config(of: &Https, at: &Https, cacert: Option<PathBuf>) -> GitConfig {
    let token = GitToken::new(&TOKEN.to_owned().into(), Some(&of.host.url()));
    GitConfig { access: GitAccess::new(token, cacert), ..config(at.dir.path(), Path::new("/nonexistent")) }
}

/// Git would send the token to the second host with `http.extraHeader`, `http.URL.extraHeader` and a credential helper.
#[tokio::test]
async fn a_token_is_not_sent_to_the_target_of_a_redirect() {
    let (https, other) = (Https::start(), HttpsHost::start());
    let id = https.host.repo("acme", "new").commit("develop", &[("a", "1")]);
    other.repo("acme", "hello").commit("develop", &[("a", "1")]);
    // The other is trusted: it is not its certificate that keeps the token from it.
    let both = https.dir.path().join("both.pem");
    let pem = [https.host.authority(), other.authority()].map(|path| std::fs::read_to_string(path).unwrap());
    std::fs::write(&both, pem.concat()).unwrap();

    let elsewhere = format!("https://{}/acme/hello.git", other.host());
    https.host.redirect("/acme/hello.git", &elsewhere);
    insta::assert_snapshot!(https.fails(&https.git(Some(TOKEN), Some(both.clone()))).await, @"Request 128 final: https://localhost:[port]/acme/hello.git sends us on to localhost, which is not given the token: ask for the repository by its present name, or correct GIT_URL");
    assert_eq!(other.requests(), []);
    // Without a token there is nothing to lose.
    https.head(&https.git(None, Some(both)), "hello").await.unwrap();
    assert!(other.requests().iter().all(|(_, authorization)| authorization.is_none()));

    // On the same server it is a renamed repository.
    https.host.require(LOGIN);
    https.host.redirect("/acme/hello.git", &format!("https://{}/acme/new.git", https.host.host()));
    assert_eq!(https.head(&https.trusting(Some(TOKEN)), "hello").await.unwrap(), id);
    https.host.redirect("/acme/hello.git", "/acme/new.git");
    std::fs::remove_dir_all(https.dir.path().join("data")).unwrap();
    assert_eq!(https.head(&https.trusting(Some(TOKEN)), "hello").await.unwrap(), id);
}

#[tokio::test]
async fn a_refusal_by_the_server_is_explained() {
    let https = Https::start();
    https.host.repo("acme", "hello").commit("develop", &[("a", "1")]);
    let (with, without) = (https.trusting(Some(TOKEN)), https.trusting(None));
    https.host.require("Basic other");
    let mut failures = Vec::new();
    let mut both_fail = async |status| {
        for (git, login) in [(&with, "with a token"), (&without, "without")] {
            failures.push(format!("{status} {login}\n    {}", https.fails(git).await));
        }
    };
    both_fail(401).await;
    for status in [403, 404, 429, 500, 503] {
        https.host.fault(status);
        both_fail(status).await;
    }
    insta::assert_snapshot!("refusals", failures.join("\n"));
}

#[tokio::test]
async fn certificates_are_checked() {
    let mut failures = Vec::new();
    for certificate in [Certificate::Expired, Certificate::Foreign] {
        let https = Https { host: HttpsHost::with(certificate), dir: folder() };
        failures.push(https.fails(&https.trusting(Some(TOKEN))).await);
        assert_eq!(https.host.requests(), []);
    }
    // Signed by no authority that is known, and by another one than the one that is given.
    let (https, other) = (Https::start(), HttpsHost::start());
    for authority in [None, Some(other.authority())] {
        failures.push(https.fails(&https.git(Some(TOKEN), authority)).await);
    }
    assert_eq!(https.host.requests(), []);
    insta::assert_snapshot!("certificates", failures.join("\n"));
}

#[tokio::test]
async fn a_server_without_tls_is_named() {
    let https = Https::start();
    let plain = crate::harness::Capture::start(&[]);
    let port = plain.url().rsplit(':').next().unwrap().trim_end_matches("/hook").to_owned();
    let source = RepoSource { url: format!("https://127.0.0.1:{port}/acme/hello.git"), ..https.source("hello") };
    let git = https.trusting(None);
    let error = git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Config 128 final: no TLS with 127.0.0.1:[port] (fatal: unable to access 'https://127.0.0.1:[port]/acme/hello.git/': [reason]): check that it is an https server");
}

#[test]
fn a_file_without_an_authority_is_refused() {
    let dir = folder();
    let file = dir.path().join("ca.pem");
    let git = || {
        Git::new(GitConfig {
            access: GitAccess::new(None, Some(file.clone())),
            ..config(dir.path(), Path::new("/nonexistent"))
        })
    };
    insta::assert_snapshot!(failure(&git().unwrap_err(), &[]), @r#"Request 128 final: GIT_CACERT="[folder]/ca.pem" cannot be used: No such file or directory (os error 2)"#);
    std::fs::write(&file, "-----BEGIN CERTIFICATE-----\n%%%\n-----END CERTIFICATE-----\n").unwrap();
    insta::assert_snapshot!(failure(&git().unwrap_err(), &[]), @r#"Request 128 final: GIT_CACERT="[folder]/ca.pem" cannot be used: it is not PEM (base64 decode error: InvalidCharacter(37))"#);
    std::fs::write(&file, "").unwrap();
    insta::assert_snapshot!(failure(&git().unwrap_err(), &[]), @r#"Request 128 final: GIT_CACERT="[folder]/ca.pem" cannot be used: it has no certificate in it: give a PEM file with the authority's"#);
}

#[test]
fn the_systems_authorities_stay_trusted() {
    let https = Https::start();
    https.trusting(None);
    let read = |path: &Path| image_factory::git::read_authorities(path).unwrap();
    let all = read(&https.dir.path().join("run/authorities.pem"));
    let system = read(Path::new("/etc/ssl/certs/ca-certificates.crt"));
    assert!(system.iter().chain(&read(&https.host.authority())).all(|one| all.contains(one)));
}
