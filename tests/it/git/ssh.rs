//! Decisions of an sshd: which protocol Git speaks, which keys are let in, and whom it drops.

use std::time::Duration;

use futures_util::future::join_all;
use image_factory::git::{Fault, probe};

use super::transport::Ssh;
use super::*;
use crate::harness::{DeployKey, Flow, Gate, GitHost, KeyType, eventually};

#[tokio::test]
async fn a_server_is_asked_for_branches_and_tags_alone() {
    for (host, protocol) in [(GitHost::start().await, "version=2"), (GitHost::without_git_protocol().await, "none")] {
        let ssh = Ssh::at(host);
        let (develop, log) = (branch("develop"), Log::default());
        let first = ssh.repo.commit("develop", &[("a", "1")]);
        ssh.repo.tag("v1");
        ssh.repo.git(&["push", "-q", "origin", &format!("{first}:refs/pull/1/head")]);
        ssh.host.note_fetches();
        let asked = |what: &str| {
            let noted = ssh.host.noted_fetches();
            assert_eq!(noted.matches("GIT_PROTOCOL=").count(), 1, "{what}\n{noted}");
            assert!(noted.contains(&format!("GIT_PROTOCOL={protocol}\n")), "{what}\n{noted}");
            assert!(noted.contains("refs/heads/develop"), "{what}\n{noted}");
            // Protocol 0 shows that the note would tell.
            assert_eq!(noted.contains("refs/pull/1/head"), protocol == "none", "{what}\n{noted}");
        };
        ssh.git.clone(&ssh.source(), &develop, &CommitSpec::Head, false, &log).await.unwrap();
        asked("the first fetch");
        let second = ssh.repo.commit("develop", &[("a", "2")]);
        let mirror = ssh.git.clone(&ssh.source(), &develop, &CommitSpec::Head, false, &log).await.unwrap();
        asked("a fetch");
        assert_eq!(ssh.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await.unwrap().to_string(), second);
        assert_eq!(ssh.git.heads(&ssh.source()).await.unwrap()["develop"].to_string(), second);
        asked("the look for missed pushes");
        let config = config(ssh.dir.path(), &ssh.host.known_hosts());
        assert_eq!(probe(&config, &ssh.source(), Some(&develop)).await.unwrap(), second);
        asked("doctor");
        assert_eq!(ssh.host.output().matches("Accepted publickey").count(), 3, "the fetches share no connection");
    }
}

#[tokio::test]
async fn a_repository_may_have_long_ids_and_may_come_to_have_others() {
    for host in [GitHost::start().await, GitHost::without_git_protocol().await] {
        let ssh = Ssh::at(host);
        let (develop, log) = (branch("develop"), Log::default());
        let config = config(ssh.dir.path(), &ssh.host.known_hosts());
        for long in [true, false, true] {
            let repo = match long {
                true => ssh.host.sha256_repo("acme", "hello"),
                false => ssh.host.repo("acme", "hello"),
            };
            for round in ["1", "2"] {
                let id = repo.commit("develop", &[("a", round)]);
                assert_eq!(id.len(), if long { 64 } else { 40 });
                assert_eq!(probe(&config, &ssh.source(), Some(&develop)).await.unwrap(), id);
                assert_eq!(ssh.git.heads(&ssh.source()).await.unwrap()["develop"].to_string(), id);
                for wanted in ["HEAD", &id] {
                    let wanted = commit(wanted);
                    let mirror = ssh.git.clone(&ssh.source(), &develop, &wanted, true, &log).await.unwrap();
                    assert_eq!(ssh.git.resolve(&mirror, &develop, &wanted, true).await.unwrap().to_string(), id);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_refused_key_is_not_shown_again_unless_a_person_asks() {
    let ssh = Ssh::start().await;
    let id = ssh.repo.commit("develop", &[("a", "1")]);
    let develop = branch("develop");
    // The server notes the end of a connection after its client has gone.
    let knocks = || ssh.host.output().matches("Connection closed by authenticating user").count();
    let knocked = async |count| {
        eventually(Duration::from_secs(20), "the server notes each knock", async || (knocks() >= count).then_some(()))
            .await;
        assert_eq!(knocks(), count);
    };
    let dead = DeployKey::generate(KeyType::Ed25519, "the passphrase");
    let source = RepoSource { key: library_key(&dead, "the passphrase"), ..ssh.source() };
    let fingerprint = source.key.as_ref().unwrap().fingerprint();
    let shown = |error: &GitError| failure(error, &[(&fingerprint, "fingerprint")]);
    let others = ["acme/hello", "acme/first", "acme/second", "acme/third"].map(|repo| {
        let repo = RepoName::parse(repo).unwrap();
        RepoSource { repo, ..source.clone() }
    });
    let errors = join_all(others.iter().map(|source| ssh.fails(source))).await;
    // Any of the four is the one that asked, whose message names no time.
    let mut failures: Vec<_> =
        others.iter().zip(&errors).map(|(source, e)| shown(e).replace(source.repo.name(), "REPO")).collect();
    failures.sort();
    insta::assert_snapshot!(failures.join("\n"), @r"
    Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/REPO: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo REPO FILE`
    Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/REPO: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo REPO FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)
    Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/REPO: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo REPO FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)
    Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/REPO: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo REPO FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)
    ");
    insta::assert_snapshot!(shown(&ssh.git.heads(&source).await.unwrap_err()), @"Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)");
    knocked(1).await;

    // A key of one's own is no worse for it.
    ssh.git.clone(&ssh.source(), &develop, &CommitSpec::Head, false, &Log::default()).await.unwrap();

    let config = config(ssh.dir.path(), &ssh.host.known_hosts());
    let error = probe(&config, &source, None).await.unwrap_err();
    insta::assert_snapshot!(shown(&error), @"Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE`");
    knocked(2).await;
    ssh.host.authorize(&[&ssh.key, &dead]);
    assert_eq!(probe(&config, &source, None).await.unwrap(), id);
    let error = ssh.fails(&source).await;
    insta::assert_snapshot!(shown(&error), @"Key 128 final: 127.0.0.1:[port] refuses the deploy key [fingerprint] for acme/hello: add its public half to the repository's deploy keys, or store another one with `image-factory secrets put github-key --owner acme --repo hello FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)");
    ssh.git.forget_key_refusals(&source);
    ssh.git.clone(&source, &develop, &CommitSpec::Head, false, &Log::default()).await.unwrap();
}

#[tokio::test]
async fn a_server_that_wants_a_key_is_not_asked_again_without_one() {
    let ssh = Ssh::start().await;
    ssh.repo.commit("develop", &[("a", "1")]);
    let gate = gate(&ssh);
    let source = RepoSource { key: None, ..ssh.source_at(&ssh.host.url_at(gate.port()), "acme/hello") };
    let failures = [ssh.fails(&source).await, ssh.fails(&source).await].map(|error| failure(&error, &[]));
    insta::assert_snapshot!(failures.join("\n"), @r"
    Config 128 final: 127.0.0.1:[port] asks for a key and there is no deploy key for acme/hello: store one with `image-factory secrets put github-key --owner acme --repo hello FILE`
    Config 128 final: 127.0.0.1:[port] asks for a key and there is no deploy key for acme/hello: store one with `image-factory secrets put github-key --owner acme --repo hello FILE` (refused at [time] and not asked again until [time]; `image-factory rebuild` asks at once)
    ");
    assert_eq!(gate.came(), 1);
    let source = RepoSource { key: ssh.source().key, ..source };
    ssh.git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_dropped_before_the_banner_is_retried() {
    let ssh = Ssh::start().await;
    ssh.repo.commit("develop", &[("a", "1")]);
    let gate = gate(&ssh);
    let source = ssh.source_at(&ssh.host.url_at(gate.port()), "acme/hello");
    let config = config(ssh.dir.path(), &ssh.host.known_hosts());
    gate.set(Flow::Drop { connections: 3 });
    let errors = [
        ssh.fails(&source).await,
        ssh.git.heads(&source).await.unwrap_err(),
        probe(&config, &source, None).await.unwrap_err(),
    ];
    // The kernel tells ssh one or the other.
    let words = ["Connection closed by remote host", "read: Connection reset by peer"].map(|words| (words, "the end"));
    for error in errors {
        assert_eq!(error.fault, Fault::Throttled, "{error}");
        insta::allow_duplicates! {
            insta::assert_snapshot!(failure(&error, &words), @"Throttled 128 transient: 127.0.0.1:[port] dropped the connection before it let ssh in (kex_exchange_identification: [the end]): wait some minutes, then build again; it is overloaded, or holds this address back after refused keys (PerSourcePenalties)");
        }
    }
    assert_eq!(gate.came(), 3, "a drop was answered with another connection at once");
    ssh.git.clone(&source, &branch("develop"), &CommitSpec::Head, false, &Log::default()).await.unwrap();
}

/// A gate before the host, whose key is known for it, too.
fn gate(ssh: &Ssh) -> Gate {
    let gate = Gate::start(ssh.host.port());
    let hosts = std::fs::read_to_string(ssh.host.known_hosts()).unwrap();
    let own = hosts.replace(&format!(":{} ", ssh.host.port()), &format!(":{} ", gate.port()));
    std::fs::write(ssh.host.known_hosts(), hosts + &own).unwrap();
    gate
}
