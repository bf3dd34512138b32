//! Decisions of an sshd: which protocol Git speaks.

use image_factory::git::probe;

use super::transport::Ssh;
use super::*;
use crate::harness::GitHost;

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
