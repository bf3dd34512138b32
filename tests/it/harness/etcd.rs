use std::process::Command;

use etcd_client::{Client, CompactionOptions};
use tempfile::TempDir;

use super::proc::wait_ready;
use super::{Proc, folder, start};

/// An etcd (v3 API) without authentication.
pub struct Etcd {
    server: Option<Proc>,
    ports: [u16; 2],
    dir: TempDir,
}

impl Etcd {
    pub async fn start() -> Self {
        let dir = folder();
        let (server, ports) =
            start("etcd", &dir.path().join("log"), |p| command(&dir, p), async |p| healthy(p[0]).await).await;
        Self { server: Some(server), ports, dir }
    }

    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    pub fn stop(&mut self) {
        self.server = None;
    }

    /// On the same port, with the same data.
    pub async fn restart(&mut self) {
        self.stop();
        let mut server = Proc::spawn("etcd", &mut command(&self.dir, self.ports), &self.dir.path().join("log"));
        assert!(wait_ready(&mut server, async || healthy(self.ports[0]).await).await, "etcd ended on its restart");
        self.server = Some(server);
    }

    async fn client(&self) -> Client {
        Client::connect([format!("127.0.0.1:{}", self.port())], None).await.unwrap()
    }

    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) {
        self.client().await.put(key, value, None).await.unwrap();
    }

    pub async fn get(&self, key: &str) -> Option<Vec<u8>> {
        let answer = self.client().await.get(key, None).await.unwrap();
        answer.kvs().first().map(|kv| kv.value().to_vec())
    }

    pub async fn delete(&self, key: &str) {
        self.client().await.delete(key, None).await.unwrap();
    }

    /// Forgets all history: a watch from an older revision is cancelled.
    pub async fn compact(&self) {
        let mut client = self.client().await;
        let revision = client.get("/", None).await.unwrap().header().unwrap().revision();
        client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
    }
}

fn command(dir: &TempDir, [client, peer]: [u16; 2]) -> Command {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    let mut command = Command::new("etcd");
    command
        .args(["--logger", "zap", "--log-level", "warn", "--name", "test", "--data-dir"])
        // A retry on other ports must not find the membership of the first attempt.
        .arg(dir.path().join(format!("data-{}", peer.rsplit(':').next().unwrap())))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("test={peer}")]);
    command
}

async fn healthy(port: u16) -> bool {
    let Ok(mut client) = Client::connect([format!("127.0.0.1:{port}")], None).await else { return false };
    client.get("/", None).await.is_ok()
}
