//! LFS where GIT_URL is ssh: the three ways that git-lfs knows.

use sha2::Digest;

use super::lfs::text;
use super::*;
use crate::harness::{DeployKey, GitHost, KeyType, LfsTransfer};

/// `acme/hello` on a host that gives out its LFS objects by ssh.
struct Host {
    host: GitHost,
    repo: Repo,
    key: DeployKey,
    transfer: LfsTransfer,
    git: Git,
    source: RepoSource,
    dir: tempfile::TempDir,
}

impl Host {
    async fn start() -> Self {
        let (host, dir) = (GitHost::start().await, folder());
        let key = DeployKey::generate(KeyType::Ed25519, "");
        host.authorize(&[&key]);
        let repo = host.repo("acme", "hello");
        let transfer = host.lfs_transfer();
        let git = Git::new(config(dir.path(), &host.known_hosts())).unwrap();
        let url = host.url().replace("{owner}", "acme").replace("{repo}", "hello");
        let source = RepoSource { repo: RepoName::new("acme", "hello").unwrap(), url, key: library_key(&key, "") };
        repo.commit("develop", &[(".gitattributes", "*.bin filter=lfs diff=lfs merge=lfs -text\n")]);
        Self { host, repo, key, transfer, git, source, dir }
    }

    async fn read(&self) -> Result<Snapshot, GitError> {
        self.read_of(&self.source).await
    }

    async fn read_of(&self, source: &RepoSource) -> Result<Snapshot, GitError> {
        let (develop, log) = (branch("develop"), Log::default());
        let mirror = self.git.clone(source, &develop, &CommitSpec::Head, false, &log).await?;
        let oid = self.git.resolve(&mirror, &develop, &CommitSpec::Head, false).await?;
        self.git.snapshot(&mirror, &oid, "key", &Secrets::default(), &log).await
    }
}

/// The program of the harness is what the real client takes for a server: it pushes there and pulls from there.
#[tokio::test]
async fn an_lfs_file_is_fetched_by_ssh_alone() {
    let host = Host::start().await;
    let identity = host.dir.path().join("key");
    std::fs::write(&identity, &host.key.private).unwrap();
    std::fs::set_permissions(&identity, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (identity, known_hosts) = (identity.display().to_string(), host.host.known_hosts().display().to_string());
    let ssh = format!("ssh -F none -i {identity} -o IdentitiesOnly=yes -o UserKnownHostsFile={known_hosts}");
    host.repo.git(&["config", "core.sshCommand", &ssh]);
    host.repo.git(&["config", "lfs.sshtransfer", "always"]);
    host.repo.track_with_lfs(&host.source.url, "*.bin");
    let large = "0123456789abcdef".repeat(200_000);
    host.repo.commit("develop", &[("large.bin", &large), ("d/small.bin", "small")]);
    assert!(host.transfer.has(large.as_bytes()) && host.transfer.has(b"small"));
    std::fs::remove_dir_all(host.repo.path(".git/lfs/objects")).unwrap();
    host.repo.git(&["lfs", "fetch"]);
    let asked = host.transfer.log();
    assert!(asked.iter().any(|line| line.starts_with("get-object ")) && asked.iter().any(|l| l == "quit"), "{asked:?}");

    let snapshot = host.read().await.unwrap();
    assert_eq!(text(&snapshot, "large.bin").await.unwrap(), large);
    assert_eq!(text(&snapshot, "d/small.bin").await.unwrap(), "small");
    let asked = host.transfer.log();
    let count = |command: &str| asked.iter().filter(|line| line.split(' ').next() == Some(command)).count();
    assert_eq!(["start", "version", "batch", "get-object", "quit"].map(count), [2, 2, 1, 2, 2], "{asked:?}");
    assert!(asked.iter().any(|line| line.starts_with("start /") && line.ends_with("/git/acme/hello.git download")));
    // The request returns the values that came with the batch.
    let small = hex::encode(sha2::Sha256::digest(b"small"));
    let get = format!("get-object {small} size=5 id=i-{0} token=t-{0}", &small[..8]);
    assert!(asked.contains(&get), "{get} {asked:?}");
    // No object is requested twice.
    host.read().await.unwrap();
    assert_eq!(host.transfer.log(), [""; 0]);
}

#[tokio::test]
async fn a_wrong_answer_by_ssh_is_named_and_costs_no_memory() {
    let host = Host::start().await;
    let pointer = host.transfer.put(b"hello");
    host.repo.commit("develop", &[("a.bin", &pointer)]);
    let oid = &pointer.lines().nth(1).unwrap()["oid sha256:".len()..];
    let mut failures = Vec::new();
    for fault in
        ["batch 403", "batch 503", "get 404", "get 500", "short", "other", "endless", "arguments", "cut", "garbage"]
    {
        host.transfer.fault(fault);
        let error = host.read().await.map(drop).expect_err(fault);
        failures.push(format!("{fault}\n    {}", failure(&error, &[(oid, "oid")])));
        // No partial object is left.
        let left: Vec<_> = std::fs::read_dir(host.dir.path().join("data/lfs")).unwrap().collect();
        assert!(left.is_empty(), "{fault}: {left:?}");
    }
    host.transfer.fault("");
    host.repo.commit("develop", &[("b.bin", &pointer.replace(oid, &"0".repeat(64)))]);
    let error = host.read().await.unwrap_err();
    failures.push(format!("one of two\n    {}", failure(&error, &[(oid, "oid"), (&"0".repeat(64), "missing")])));
    insta::assert_snapshot!("wrong_answers", failures.join("\n"));
}

/// A server says of another repository's object that it has it, and does not send it.
#[tokio::test]
async fn a_claim_by_ssh_opens_no_object_of_another_repository() {
    let host = Host::start().await;
    let pointer = host.transfer.put(b"a secret");
    host.repo.commit("develop", &[("a.bin", &pointer)]);
    assert_eq!(text(&host.read().await.unwrap(), "a.bin").await.unwrap(), "a secret");
    let other = host.host.repo("acme", "other");
    let attributes = "*.bin filter=lfs diff=lfs merge=lfs -text\n";
    other.commit("develop", &[(".gitattributes", attributes), ("b.bin", &pointer)]);
    let url = host.host.url().replace("{owner}", "acme").replace("{repo}", "other");
    let source = RepoSource { repo: RepoName::new("acme", "other").unwrap(), url, key: library_key(&host.key, "") };
    for fault in ["get 404", "other", "short"] {
        host.transfer.fault(fault);
        let error = host.read_of(&source).await.map(drop).expect_err(fault);
        assert!(error.message.contains("b.bin"), "{fault}: {error}");
    }
    host.transfer.fault("");
    assert_eq!(text(&host.read_of(&source).await.unwrap(), "b.bin").await.unwrap(), "a secret");
}

#[tokio::test]
async fn a_server_is_asked_by_the_protocol_that_it_has() {
    let mut host = Host::start().await;
    let server = crate::harness::LfsServer::start(Some("RemoteAuth 123"), Path::new("/nonexistent"));
    let commit = |host: &Host, name: &str| {
        let pointer = server.put(name.as_bytes());
        assert_eq!(pointer, host.transfer.put(name.as_bytes()));
        host.repo.commit("develop", &[("a.bin", &pointer)]);
    };
    host.host.lfs_authenticate(&format!(
        "echo '{{\"href\": \"{}/hello.git/info/lfs\", \"header\": {{\"Authorization\": \"RemoteAuth 123\"}}}}'",
        server.url()
    ));
    // Servers without git-lfs-transfer answer in one of these forms.
    for fault in ["text", "banner", "version"] {
        host.transfer.fault(fault);
        host.git = Git::new(config(host.dir.path(), &host.host.known_hosts())).unwrap();
        // The way that worked is remembered.
        for asked in [1, 0] {
            let name = format!("{fault} {asked}");
            commit(&host, &name);
            assert_eq!(text(&host.read().await.unwrap(), "a.bin").await.unwrap(), name);
            assert_eq!((host.transfer.log().len(), server.requests().len()), (asked, 2), "{name}");
        }
    }
    // The remembered protocol is dropped when git-lfs-authenticate is gone, and LFS objects come by ssh.
    host.transfer.fault("");
    host.host.uninstall("git-lfs-authenticate");
    commit(&host, "by ssh");
    assert_eq!(text(&host.read().await.unwrap(), "a.bin").await.unwrap(), "by ssh");
    assert_eq!((host.transfer.log().len(), server.requests().len()), (5, 0));
    // Neither is there: git-lfs looks at the same host by https, where here nobody is.
    host.host.uninstall("git-lfs-transfer");
    commit(&host, "by https");
    let error = host.read().await.unwrap_err();
    insta::assert_snapshot!(failure(&error, &[]), @"Server 1 transient: 127.0.0.1 cannot be reached, or broke the connection off (error sending request: client error (Connect): tcp connect error: Connection refused (os error 111)): try again when it is there (https://127.0.0.1[folder]/git/acme/hello.git is where git-lfs looks too, because 127.0.0.1:[port] has neither git-lfs-transfer nor git-lfs-authenticate)");
}
